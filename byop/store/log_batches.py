"""Files with the large batches of the inference log, beside its database.

A large batch in the database would be written twice, page by page: once to the write-ahead log,
once at a checkpoint. So it goes to a file of its writer's own with one write, and the database
row, committed afterwards, says where it lies. What a crash leaves behind the last committed batch
is never referred to. Only whole batches count: a reader never sees a torn one.

A writer goes on in a next file when one has ``_FULL_BYTES``, so that rolled batches can be
deleted. Where a batch lies is ``file number << 40 | offset in the file``. A writer holds an
exclusive lock (flock) on the file that it writes: nobody deletes a locked file.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

_SUFFIX = ".batches"
_FULL_BYTES = 64 << 20
_NUMBER_SHIFT = 40
_OFFSET_MASK = (1 << _NUMBER_SHIFT) - 1


def batch_folder(database: Path) -> Path:
    """Return the folder of the batch files of a log database."""
    return database.with_name(database.name + _SUFFIX)


def batch_file_name(partition: str, number: int) -> str:
    """Return the name of a writer's file."""
    return f"{partition}.{number}" if number else partition


def split_batch_file_name(name: str) -> tuple[str, int]:
    """Return partition and number of a file."""
    partition, _, number = name.partition(".")
    return partition, int(number or 0)


def first_place(number: int) -> int:
    """Return the place of the first batch in a writer's file."""
    return number << _NUMBER_SHIFT


def file_number(place: int) -> int:
    """Return which file of its writer the batch at ``place`` lies in."""
    return place >> _NUMBER_SHIFT


class BatchFile:
    """The files of one writer, made when its first batch comes. Used by one thread."""

    def __init__(self, folder: Path, partition: str) -> None:
        self._folder = folder
        self._partition = partition
        self._descriptor = -1
        self._end = 0
        self._is_unsynced = False

    @property
    def end(self) -> int:
        """Where the next batch will lie."""
        return self._end

    def append(self, batch: pa.Buffer) -> int:
        """Write the batch and return its place.

        Raises:
            OSError: The disk refuses; call ``cut`` before the next append.
        """
        if self._descriptor < 0:
            self._open()
        place = self._end
        rest = memoryview(batch)
        while rest:
            written = os.pwrite(self._descriptor, rest, self._end & _OFFSET_MASK)
            self._end += written
            rest = rest[written:]
        self._is_unsynced = True
        return place

    def sync(self) -> None:
        """Make what was appended survive a power cut."""
        if self._is_unsynced:
            os.fdatasync(self._descriptor)
            self._is_unsynced = False

    def cut(self, end: int) -> None:
        """Forget what was appended from ``end`` on: it was not committed."""
        if self._descriptor >= 0 and self._end > end:
            os.ftruncate(self._descriptor, end & _OFFSET_MASK)
        self._end = end

    def turn_over(self) -> None:
        """Go on in a next file when this one is full. Everything appended must be committed."""
        if self._end & _OFFSET_MASK >= _FULL_BYTES:
            self.close()
            self._end = first_place(file_number(self._end) + 1)

    def close(self) -> None:
        """Close the file, which may be deleted from now on."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            self._is_unsynced = False

    def _open(self) -> None:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        path = self._folder / batch_file_name(self._partition, file_number(self._end))
        while self._descriptor < 0:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.fstat(descriptor).st_nlink:
                self._descriptor = descriptor
            else:  # Deleted before it was locked.
                os.close(descriptor)
        sync_folder(self._folder)


class BatchFiles:
    """Reads batches of every writer, during one read. Used by one thread at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._descriptors: dict[str, int] = {}

    def open(self, partition: str, number: int) -> int:
        """Return the descriptor of a file; from now on it can be read, also when it is deleted.

        Raises:
            OSError: The file is gone.
        """
        name = batch_file_name(partition, number)
        known = self._descriptors.get(name)
        if known is None:
            known = self._descriptors[name] = os.open(self._folder / name, os.O_RDONLY)
        return known

    def read(self, partition: str, place: int, size: int) -> bytes:
        """Return the ``size`` bytes from ``place`` on of a writer's files.

        Raises:
            OSError: The file is gone, or shorter: a power cut took what was not synced.
        """
        descriptor = self.open(partition, file_number(place))
        offset = place & _OFFSET_MASK
        found = os.pread(descriptor, size, offset)
        while found and len(found) < size:
            more = os.pread(descriptor, size - len(found), offset + len(found))
            if not more:
                break
            found += more
        if len(found) != size:
            path = self._folder / batch_file_name(partition, file_number(place))
            raise OSError(f"{path} ends before {offset + size}")
        return found

    def close(self) -> None:
        """Close every file."""
        for descriptor in self._descriptors.values():
            os.close(descriptor)
        self._descriptors.clear()


@contextlib.contextmanager
def locked_file(path: Path) -> Iterator[bool]:
    """Give whether the file could be locked; it is unlocked at the end."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Make names in the folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
