"""Content-addressed files in a folder.

``<root>/<first two hex digits>/<sha256>`` holds the bytes; ``<root>/incoming`` what is still being
written.
"""

import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from byop.errors import NotFoundError, StorageUnavailableError, TooLargeError
from byop.ports.blobs import StoredBlob

_SHA = re.compile(r"[0-9a-f]{64}")


class FileBlobStore:
    """Blobs below ``root``, which one process owns: opening it removes half-written files."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._incoming = root / "incoming"
        with _disk():
            self._incoming.mkdir(parents=True, exist_ok=True, mode=0o700)
            for leftover in self._incoming.iterdir():
                leftover.unlink()

    def put(
        self,
        chunks: Iterable[bytes],
        *,
        limit_bytes: int,
        check: Callable[[Path], None] | None = None,
    ) -> StoredBlob:
        """Stream the bytes to disk, flush them, then give them their name."""
        with _disk():
            descriptor, name = tempfile.mkstemp(dir=self._incoming)
        staging = Path(name)
        try:
            stored = _copy(chunks, descriptor, limit_bytes)
            if check is not None:
                check(staging)
            with _disk():
                self._publish(staging, stored.sha)
        finally:
            staging.unlink(missing_ok=True)
        return stored

    def path(self, sha: str) -> Path:
        """Return the file itself, which is read-only."""
        path = self._root / sha[:2] / sha
        if not _SHA.fullmatch(sha) or not path.is_file():
            raise NotFoundError("blob", sha)
        return path

    def _publish(self, staging: Path, sha: str) -> None:
        """Rename, over an earlier copy too: it heals one that was damaged on disk."""
        folder = self._root / sha[:2]
        folder.mkdir(exist_ok=True, mode=0o700)
        staging.chmod(0o400)
        staging.replace(folder / sha)
        _flush_folder(folder)
        _flush_folder(self._root)


def _copy(chunks: Iterable[bytes], descriptor: int, limit_bytes: int) -> StoredBlob:
    """Write the chunks; what their iterator raises passes unchanged."""
    digest = hashlib.sha256()
    size = 0
    with os.fdopen(descriptor, "wb", buffering=0) as file:
        for chunk in chunks:
            size += len(chunk)
            if size > limit_bytes:
                raise TooLargeError("the file", limit_bytes)
            digest.update(chunk)
            with _disk():
                _write_all(file.fileno(), chunk)
        with _disk():
            os.fsync(file.fileno())
    return StoredBlob(digest.hexdigest(), size)


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
        raise StorageUnavailableError(f"cannot store the file: {error.strerror}") from error


def _flush_folder(folder: Path) -> None:
    """Make renames in the folder survive power loss."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
