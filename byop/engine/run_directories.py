"""Where the sockets of a data directory lie: in it, or, when its path is too long, beside /tmp."""

import hashlib
import os
import shutil
import stat
from pathlib import Path

from byop.errors import StorageUnavailableError

_LONGEST = 64
"""Addresses of unix sockets end at 108 bytes, the name of the socket included."""


def open_run_directory(home: Path, *, fallback: Path = Path("/tmp")) -> Path:  # noqa: S108 - checked
    """Return an empty 0700 folder for the sockets of the server that owns ``home``.

    The same home always gives the same folder, so that what a killed server left is cleared.

    Raises:
        StorageUnavailableError: The folder belongs to somebody else, or cannot be made.
    """
    folder = home.resolve() / "run"
    if len(os.fsencode(folder)) > _LONGEST:
        digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
        folder = fallback / f"byop-{os.geteuid()}-{digest}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        _require_own(folder)
        for left in folder.iterdir():
            shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()
    except OSError as error:
        raise StorageUnavailableError(f"{folder} cannot be used for sockets: {error}") from error
    return folder


def remove_run_directory(folder: Path) -> None:
    """Remove the folder and what is in it."""
    shutil.rmtree(folder, ignore_errors=True)


def _require_own(folder: Path) -> None:
    facts = folder.lstat()
    is_own = stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.geteuid()
    if not is_own or stat.S_IMODE(facts.st_mode) != stat.S_IRWXU:
        raise StorageUnavailableError(f"{folder} is not a folder of this user's alone: remove it")
