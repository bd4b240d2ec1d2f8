"""Runs of log rows from the database and from segments, merged in one order.

A run is what pages are made of: consecutive rows of one request that lie together. A container
(a segment, a row group) stands in the heap by the lowest key that it may hold, and is opened only
when its turn comes: whoever stops before has not read it.
"""

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from byop.domain.inferences import InferenceMetadata
from byop.store.log_batches import BatchFiles
from byop.store.log_flat import METADATA_FIELDS, PLACE_FIELDS
from byop.store.log_rows import LogSchema, Origin

Key = tuple[int, ...]


class HotRun(NamedTuple):
    """A row of ``tail``."""

    time_ms: int
    partition_id: int
    seq: int
    rows: int
    schema: LogSchema
    size: int
    origin: Origin
    elapsed_ns: str
    partition: str
    file_offset: int | None
    stored: bytes | None
    files: BatchFiles

    def batch(self) -> pa.RecordBatch:
        """Return the values.

        Raises:
            OSError: Its batch file is gone or too short.
            pa.ArrowException: The bytes are not what was written.
        """
        batch = self.schema.decode(self.encoded())
        batch.validate(full=True)
        if batch.num_rows != self.rows:
            raise pa.ArrowInvalid(f"a batch has {batch.num_rows} rows instead of {self.rows}")
        return batch

    def encoded(self) -> bytes:
        """Return the values as they are stored.

        Raises:
            OSError: Its batch file is gone or too short.
        """
        if self.stored is not None:
            return self.stored
        return self.files.read(self.partition, self.file_offset or 0, self.size)

    def metadata(self) -> InferenceMetadata:
        """Return the metadata of its rows."""
        elapsed = tuple(map(int, self.elapsed_ns.split(","))) if self.elapsed_ns else ()
        return metadata_of(self.origin, elapsed)


class ColdRun(NamedTuple):
    """Consecutive rows of a row group that belong to one request."""

    time_ms: int
    partition_id: int
    seq: int
    rows: int
    schema: LogSchema
    size: int
    start: int
    group: "GroupRows"

    @property
    def partition(self) -> str:
        """Name of the partition."""
        return self.group.partition(self.start)

    def batch(self) -> pa.RecordBatch:
        """Return the values, not copied."""
        return self.group.payload.slice(self.start, self.rows)

    def metadata(self) -> InferenceMetadata:
        """Return the metadata of its rows."""
        return self.group.metadata(self.start)


Run = HotRun | ColdRun


class GroupRows:
    """A row group in memory."""

    def __init__(
        self, flat: pa.RecordBatch, schema: LogSchema, partition_id: Callable[[str], int]
    ) -> None:
        first, stop = len(PLACE_FIELDS), flat.num_columns - len(METADATA_FIELDS)
        self.schema = schema
        self.payload = pa.RecordBatch.from_arrays(flat.columns[first:stop], schema=schema.schema)
        self.time_ms = _numbers(flat.column(0))
        self.seq = _numbers(flat.column(2))
        self._record = _numbers(flat.column(3))
        self._row_bytes = flat.nbytes // max(1, flat.num_rows)
        self._names: list[str] = flat.column(1).dictionary.to_pylist()
        self._codes = _numbers(flat.column(1).indices)
        ids = np.asarray([partition_id(name) for name in self._names], np.int64)
        self.partition_id = ids[self._codes]
        self._origins = _Origins(flat.columns[stop : stop + 3], flat.column(stop + 4))
        elapsed = flat.column(stop + 3)
        self._elapsed_at: list[int] = _numbers(elapsed.offsets).tolist()
        self._elapsed_ns: list[int] = _numbers(elapsed.values).tolist()

    def runs(self, chosen: np.ndarray, *, is_reversed: bool = False) -> Iterator[ColdRun]:
        """Yield the runs of the rows at ``chosen``, the last run first when asked so."""
        if not len(chosen):
            return
        follows = np.diff(chosen) == 1
        for numbers in (self._record, self.partition_id):
            follows &= np.diff(numbers[chosen]) == 0
        follows &= np.diff(self.seq[chosen]) == 1
        starts = np.concatenate(([0], np.flatnonzero(~follows) + 1))
        counts = np.diff(np.append(starts, len(chosen)))
        if is_reversed:
            starts, counts = starts[::-1], counts[::-1]
        places = chosen[starts]
        for start, rows, time_ms, partition_id, seq in zip(
            places.tolist(),
            counts.tolist(),
            self.time_ms[places].tolist(),
            self.partition_id[places].tolist(),
            self.seq[places].tolist(),
            strict=True,
        ):
            size = rows * self._row_bytes
            yield ColdRun(time_ms, partition_id, seq, rows, self.schema, size, start, self)

    def partition(self, row: int) -> str:
        """Return the name of a row's partition."""
        return self._names[int(self._codes[row])]

    def metadata(self, row: int) -> InferenceMetadata:
        """Return the metadata of a row."""
        start, stop = self._elapsed_at[row], self._elapsed_at[row + 1]
        return metadata_of(self._origins.of(row), tuple(self._elapsed_ns[start:stop]))


class _Origins:
    """The origin of each row of a group, made once for all rows that share it."""

    def __init__(self, texts: Sequence[pa.DictionaryArray], dropped: pa.ListArray) -> None:
        self._texts = [column.dictionary.to_pylist() for column in texts]
        self._codes = [_numbers(column.indices).tolist() for column in texts]
        # Nothing is dropped from nearly every record.
        self._dropped = dropped.to_pylist() if len(dropped.flatten()) else None
        self._last: tuple[tuple[int, int, int, tuple[str, ...]], Origin] | None = None

    def of(self, row: int) -> Origin:
        """Return the origin of a row."""
        models, versions, partitions = self._codes
        dropped = () if self._dropped is None else tuple(self._dropped[row])
        key = (models[row], versions[row], partitions[row], dropped)
        if self._last is None or self._last[0] != key:
            model, version, partition = (
                names[code] for names, code in zip(self._texts, key[:3], strict=True)
            )
            self._last = key, Origin(model, version, partition, dropped)
        return self._last[1]


@dataclass(frozen=True, slots=True)
class Boundary:
    """A row group begins here: its first row in the order is ``key``, not read yet."""

    key: Key
    schema: LogSchema


@dataclass(frozen=True, slots=True)
class Lost:
    """Rows that cannot be read any more, up to before ``end_seq`` of their partition."""

    rows: int
    end_seq: int
    reason: str


Piece = Run | Boundary | Lost
Entry = tuple[Key, "Container | Run | Lost"]


@dataclass(frozen=True, slots=True)
class Container:
    """Something that holds entries at or after its own place in the order.

    ``boundary`` is given before it is opened.
    """

    open: Callable[[], Iterator[Entry]]
    boundary: Boundary | None = None


def merge(sources: Iterator[Iterator[Entry]]) -> Iterator[Piece]:
    """Yield runs in the order of their keys.

    Each source is in order; what a container yields is a source of its own.
    """
    heap: list[tuple[Key, int, Container | Run | Lost, Iterator[Entry]]] = []
    count = 0
    for source in sources:
        count = _push(heap, source, count)
    while heap:
        _, number, entry, source = heap[0]
        following = next(source, None)
        if following is None:
            heapq.heappop(heap)
        else:
            heapq.heapreplace(heap, (following[0], number, following[1], source))
        if not isinstance(entry, Container):
            yield entry
            continue
        if entry.boundary is not None:
            yield entry.boundary
        count = _push(heap, entry.open(), count)


def _push(
    heap: list[tuple[Key, int, "Container | Run | Lost", Iterator[Entry]]],
    source: Iterator[Entry],
    count: int,
) -> int:
    first = next(source, None)
    if first is not None:
        heapq.heappush(heap, (first[0], count, first[1], source))
    return count + 1


def metadata_of(origin: Origin, elapsed_ns: tuple[int, ...]) -> InferenceMetadata:
    """Return the metadata of a record."""
    return InferenceMetadata(
        last_model=origin.last_model,
        pipeline_version=origin.pipeline_version,
        elapsed_ns=elapsed_ns,
        partition=origin.partition,
        dropped=origin.dropped,
    )


def _numbers(column: pa.Array) -> np.ndarray:
    """Return whole numbers as they lie; times as milliseconds."""
    if pa.types.is_timestamp(column.type):
        column = column.view(pa.int64())
    return np.asarray(column)
