"""Files with the large batches of the inference log, beside its database.

A large batch in the database would be written twice, page by page: once to the write-ahead log,
once at a checkpoint. So it goes to a file of its writer's own with one write, and the database
row, committed afterwards, says where it lies. What a crash leaves behind the last committed batch
is never referred to. Only whole batches count: a reader never sees a torn one.
"""

import os
import threading
from pathlib import Path

import pyarrow as pa

_SUFFIX = ".batches"


def batch_folder(database: Path) -> Path:
    """Return the folder of the batch files of a log database."""
    return database.with_name(database.name + _SUFFIX)


class BatchFile:
    """The file of one writer, made when its first batch comes. Used by one thread."""

    def __init__(self, folder: Path, partition: str) -> None:
        self._path = folder / partition
        self._descriptor = -1
        self._end = 0
        self._is_unsynced = False

    @property
    def end(self) -> int:
        """Where the next batch will lie."""
        return self._end

    def append(self, batch: pa.Buffer) -> int:
        """Write the batch and return its offset.

        Raises:
            OSError: The disk refuses; call ``cut`` before the next append.
        """
        if self._descriptor < 0:
            self._open()
        offset = self._end
        rest = memoryview(batch)
        while rest:
            written = os.pwrite(self._descriptor, rest, self._end)
            self._end += written
            rest = rest[written:]
        self._is_unsynced = True
        return offset

    def sync(self) -> None:
        """Make what was appended survive a power cut."""
        if self._is_unsynced:
            os.fdatasync(self._descriptor)
            self._is_unsynced = False

    def cut(self, end: int) -> None:
        """Forget what was appended from ``end`` on: it was not committed."""
        if self._descriptor >= 0 and self._end > end:
            os.ftruncate(self._descriptor, end)
        self._end = end

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _open(self) -> None:
        self._path.parent.mkdir(mode=0o700, exist_ok=True)
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


class BatchFiles:
    """Reads batches of every writer. Safe from several threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._descriptors: dict[str, int] = {}
        self._opening = threading.Lock()

    def read(self, partition: str, offset: int, size: int) -> bytes:
        """Return the ``size`` bytes from ``offset`` on of a writer's file.

        Raises:
            OSError: The file is gone, or shorter: a power cut took what was not synced.
        """
        found = os.pread(self._descriptor(partition), size, offset)
        while found and len(found) < size:
            more = os.pread(self._descriptor(partition), size - len(found), offset + len(found))
            if not more:
                break
            found += more
        if len(found) != size:
            raise OSError(f"{self._folder / partition} ends before {offset + size}")
        return found

    def close(self) -> None:
        """Close every file."""
        with self._opening:
            for descriptor in self._descriptors.values():
                os.close(descriptor)
            self._descriptors.clear()

    def _descriptor(self, partition: str) -> int:
        with self._opening:
            known = self._descriptors.get(partition)
            if known is None:
                known = os.open(self._folder / partition, os.O_RDONLY)
                self._descriptors[partition] = known
            return known
