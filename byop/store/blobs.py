"""Content-addressed files in a folder.

``<root>/<first two hex digits>/<sha256>`` holds the bytes; ``<root>/incoming`` what is still being
written.
"""

import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from byop.errors import NotFoundError, StoredFileDamagedError, TooLargeError, storage_error
from byop.ports.blobs import StoredBlob
from byop.store.free_space import FreeSpaceFloor

_SHA = re.compile(r"[0-9a-f]{64}")


class FileBlobStore:
    """Blobs below ``root``, which one process owns: opening it removes half-written files.

    With less than ``min_free_bytes`` of free disk none begins (StorageFullError).
    """

    def __init__(self, root: Path, *, min_free_bytes: int = 0) -> None:
        self._root = root
        self._space = FreeSpaceFloor(root, min_free_bytes)
        self._incoming = root / "incoming"
        with _disk():
            self._incoming.mkdir(parents=True, exist_ok=True, mode=0o700)
            for leftover in self._incoming.iterdir():
                leftover.unlink()

    def begin(self, *, limit_bytes: int) -> "IncomingFile":
        """Return a new file below ``incoming``."""
        self._space.check()
        with _disk():
            descriptor, name = tempfile.mkstemp(dir=self._incoming)
        return IncomingFile(Path(name), descriptor, limit_bytes, self._publish)

    def path(self, sha: str) -> Path:
        """Return the file itself, which is read-only."""
        path = self._root / sha[:2] / sha
        if not _SHA.fullmatch(sha) or not path.is_file():
            raise NotFoundError("blob", sha)
        return path

    def verified_path(self, sha: str) -> Path:
        """Return the file after comparing its bytes with its name."""
        path = self.path(sha)
        with _disk(), path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != sha:
            raise StoredFileDamagedError(sha)
        return path

    def _publish(self, staging: Path, sha: str) -> None:
        """Rename, over an earlier copy too: it heals one that was damaged on disk."""
        folder = self._root / sha[:2]
        folder.mkdir(exist_ok=True, mode=0o700)
        staging.chmod(0o400)
        staging.replace(folder / sha)
        _flush_folder(folder)
        _flush_folder(self._root)


class IncomingFile:
    """The port ``IncomingBlob``: a file below ``incoming`` that ``publish`` gives its name."""

    def __init__(
        self, path: Path, descriptor: int, limit_bytes: int, publish: Callable[[Path, str], None]
    ) -> None:
        self._path = path
        self._file = os.fdopen(descriptor, "wb", buffering=0)
        self._limit_bytes = limit_bytes
        self._publish = publish
        self._digest = hashlib.sha256()
        self._size_bytes = 0

    def write(self, chunk: bytes) -> None:
        """Append the bytes and hash them."""
        self._size_bytes += len(chunk)
        if self._size_bytes > self._limit_bytes:
            raise TooLargeError("the file", self._limit_bytes)
        self._digest.update(chunk)
        with _disk():
            _write_all(self._file.fileno(), chunk)

    def commit(self, check: Callable[[Path], None] | None = None) -> StoredBlob:
        """Check and flush the file, then rename it."""
        if check is not None:
            check(self._path)
        sha = self._digest.hexdigest()
        with _disk():
            os.fsync(self._file.fileno())
            self._publish(self._path, sha)
        return StoredBlob(sha, self._size_bytes)

    def discard(self) -> None:
        """Close the file and remove what still has its first name."""
        self._file.close()
        self._path.unlink(missing_ok=True)


def _write_all(descriptor: int, chunk: bytes) -> None:
    """Write the whole chunk: a nearly full disk takes a part of it first."""
    rest = memoryview(chunk)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


@contextmanager
def _disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise storage_error("cannot store the file", error) from error


def _flush_folder(folder: Path) -> None:
    """Make renames in the folder survive power loss."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
