"""Content-addressed files."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """A stored file: sha256 in hex and size."""

    sha: str
    size_bytes: int


class IncomingBlob(Protocol):
    """A file that is being written. Nobody sees it before ``commit``, also after a crash.

    For one caller at a time, from any thread.
    """

    def write(self, chunk: bytes) -> None:
        """Append the bytes.

        Raises:
            TooLargeError: It would be over the limit.
            StorageUnavailableError: The disk refuses, or is full.
        """

    def commit(self, check: Callable[[Path], None] | None = None) -> StoredBlob:
        """Give the file its address. The same bytes are kept once.

        ``check`` sees the whole file before: what it raises is passed on, and nothing is kept.

        Raises:
            StorageUnavailableError: The disk refuses, or is full.
        """

    def discard(self) -> None:
        """Remove the file, unless it was committed. Idempotent; must be called at last."""


class BlobStore(Protocol):
    """Files by the sha256 of their bytes. Safe to call from any thread."""

    def begin(self, *, limit_bytes: int) -> IncomingBlob:
        """Return a new file to write to, of at most ``limit_bytes``.

        Raises:
            StorageUnavailableError: The disk refuses, or is full.
        """

    def path(self, sha: str) -> Path:
        """Return a local file with the bytes; it must not be written to.

        Raises:
            NotFoundError: No such blob.
        """

    def verified_path(self, sha: str) -> Path:
        """Return the same as ``path`` after reading the whole file: it is what was stored.

        Raises:
            NotFoundError: No such blob.
            StoredFileDamagedError: It is another content, or cut off. Storing it again heals it.
        """
