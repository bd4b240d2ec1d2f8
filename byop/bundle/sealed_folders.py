"""Folders that are on the disk whole and are not written to any more."""

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from byop.errors import storage_error

UNFINISHED = ".unfinished-"
"""How names begin of what a crash leaves beside the folders."""


@contextmanager
def new_sealed_folder(target: Path) -> Iterator[Path]:
    """Give an empty folder to fill, which becomes ``target`` at the end: read-only, on the disk.

    ``target`` is absent or empty before. A failure leaves nothing, a crash nothing under its name.

    Raises:
        StorageUnavailableError: The disk refuses, or is full, while it is filled too.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f"{UNFINISHED}{target.name}.", dir=target.parent))
        try:
            yield staging
            seal_folder(staging)
            staging.replace(target)
            flush(target.parent)
        finally:
            remove_folder(staging)
    except OSError as error:
        raise storage_error(f"cannot write the folder {target}", error) from error


def seal_folder(folder: Path) -> None:
    """Flush everything below ``folder`` to the disk and take the right to write from it.

    Files keep whether they can be executed.
    """
    for parent, _, names in os.walk(folder, topdown=False):
        for name in names:
            path = Path(parent, name)
            is_executable = path.stat().st_mode & stat.S_IXUSR
            path.chmod(0o555 if is_executable else 0o444)
            flush(path)
        flush(Path(parent))
        Path(parent).chmod(0o555)


def remove_folder(folder: Path) -> None:
    """Remove the folder, sealed or not, if it is there."""
    for parent, _, _ in os.walk(folder):
        Path(parent).chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)


def flush(path: Path) -> None:
    """Make a file's content, or the names in a folder, survive a loss of power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
