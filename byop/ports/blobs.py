"""Content-addressed files."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """A stored file: sha256 in hex and size."""

    sha: str
    size_bytes: int


class BlobStore(Protocol):
    """Files by the sha256 of their bytes. Safe to call from any thread."""

    def put(
        self,
        chunks: Iterable[bytes],
        *,
        limit_bytes: int,
        check: Callable[[Path], None] | None = None,
    ) -> StoredBlob:
        """Store the bytes and return their address. The same bytes are kept once.

        A half-written file is never visible under its address, also after a crash. ``check`` sees
        the whole file before it gets its address: what it raises is passed on, nothing is kept.

        Raises:
            TooLargeError: More than ``limit_bytes`` came; nothing is kept.
            StorageUnavailableError: The disk refuses; nothing is kept.
        """

    def path(self, sha: str) -> Path:
        """Return a local file with the bytes; it must not be written to.

        Raises:
            NotFoundError: No such blob.
        """
