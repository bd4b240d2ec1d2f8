"""Folders that are on the disk whole and are not written to any more."""

import os
import shutil
import stat
from pathlib import Path


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
