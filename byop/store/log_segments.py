"""Segments: rolled log rows of one topic and one schema in a Parquet file, beside the database.

A file is whole or not there under its name. It holds the flat layout (``log_flat.py``) ordered by
(time, partition, sequence), compressed with zstd, in row groups that are small enough to read one
for a page. Pages carry checksums, which readers verify.
"""

import hashlib
import os
import threading
import uuid
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from byop.store.log_batches import sync_folder
from byop.store.log_cells import from_stored, to_storable
from byop.store.log_flat import FlatRows, flat_schema
from byop.store.log_rows import LogSchema

GROUP_ROWS = 4096
_GROUP_BYTES = 4 << 20
_SUFFIX = ".segments"
_NEW = ".new"
_COMPRESSION_LEVEL = 1
_NAME_LIMIT = 100
_FOOTERS_KEPT = 64
_SCAN_ROWS = 65_536


class LogKey(NamedTuple):
    """A row's place in the order of time."""

    time_ms: int
    partition_id: int
    seq: int


class Place(NamedTuple):
    """Between which row numbers a group has rows of a partition, and how many."""

    partition_id: int
    first_seq: int
    end_seq: int
    rows: int


class SegmentGroup(NamedTuple):
    """A row group as the manifest knows it."""

    number: int
    rows: int
    first: LogKey
    last: LogKey
    places: Sequence[Place]


class WrittenSegment(NamedTuple):
    """A segment that lies under its name and waits for the manifest."""

    name: str
    size_bytes: int
    groups: Sequence[SegmentGroup]


def segment_folder(database: Path) -> Path:
    """Return the folder of the segments of a log database."""
    return database.with_name(database.name + _SUFFIX)


def topic_folder(topic: str) -> str:
    """Return the name of a topic's folder: the topic where it can be a name, else its hash."""
    name = quote(topic, safe="").replace(".", "%2E")
    if 0 < len(name) <= _NAME_LIMIT:
        return name
    return hashlib.sha256(topic.encode("utf-8", "surrogatepass")).hexdigest()


def write_segment(folder: Path, topic: str, flat: FlatRows) -> WrittenSegment:
    """Write rows to a new file, flushed to the disk.

    Raises:
        OSError: The disk refuses; nothing is left under a segment's name.
    """
    place = folder / topic_folder(topic)
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = place / f"{max(int(flat.time_ms[0]), 0):015d}-{uuid.uuid4().hex[:16]}.parquet"
    unfinished = path.with_name(path.name + _NEW)
    row_bytes = max(1, flat.table.nbytes // flat.table.num_rows)
    group_rows = min(GROUP_ROWS, max(1, _GROUP_BYTES // row_bytes))
    try:
        unfinished.touch(mode=0o600)
        _write(unfinished, flat.table, group_rows)
        size_bytes = unfinished.stat().st_size
        unfinished.rename(path)
        sync_folder(place)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    return WrittenSegment(
        str(path.relative_to(folder)), size_bytes, list(group_bounds(flat, group_rows))
    )


def group_bounds(flat: FlatRows, group_rows: int) -> Iterator[SegmentGroup]:
    """Yield what the manifest keeps of each group of ``group_rows`` rows."""
    for number, start in enumerate(range(0, len(flat.seq), group_rows)):
        part = slice(start, start + group_rows)
        times, ids, seqs = flat.time_ms[part], flat.partition_id[part], flat.seq[part]
        places = []
        for partition_id in np.unique(ids):
            own = seqs[ids == partition_id]
            places.append(Place(int(partition_id), int(own.min()), int(own.max()) + 1, len(own)))
        first = LogKey(int(times[0]), int(ids[0]), int(seqs[0]))
        last = LogKey(int(times[-1]), int(ids[-1]), int(seqs[-1]))
        yield SegmentGroup(number, len(seqs), first, last, places)


def lost_segment_name(topic: str) -> str:
    """Return the name of a segment that has no file."""
    return f"{topic_folder(topic)}/lost-{uuid.uuid4().hex[:16]}.parquet"


def segment_files(folder: Path) -> Iterator[Path]:
    """Yield every file of a segment, whole or not, known to the manifest or not."""
    for pattern in ("*/*.parquet", f"*/*.parquet{_NEW}"):
        yield from folder.glob(pattern)


class SegmentFiles:
    """Reads segments. Keeps the footers of the last ones. Safe from several threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._footers: OrderedDict[str, pq.FileMetaData] = OrderedDict()
        self._changing = threading.Lock()

    def read_group(self, name: str, number: int, schema: LogSchema) -> pa.RecordBatch:
        """Return the rows of a group in the flat layout.

        Raises:
            OSError: The file is gone or cannot be read.
            pa.ArrowException: The file is no longer what was written.
        """
        with self._open(name) as file:
            table = file.read_row_group(number, use_threads=False)
            return to_batch(_restored(table, flat_schema(schema)))

    def iterate(
        self,
        name: str,
        numbers: Sequence[int],
        schema: LogSchema,
        columns: Sequence[str] | None,
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows of some groups; of the columns only those named, and the time.

        Raises:
            OSError: As ``read_group``.
            pa.ArrowException: As ``read_group``.
        """
        whole = flat_schema(schema)
        wanted = None
        if columns is not None:
            whole = pa.schema(
                field for field in whole if field.name == "time" or field.name in columns
            )
            wanted = whole.names
        with self._open(name) as file:
            parts = file.iter_batches(_SCAN_ROWS, row_groups=list(numbers), columns=wanted)
            for part in parts:
                yield to_batch(_restored(pa.Table.from_batches([part]), whole))

    def _open(self, name: str) -> pq.ParquetFile:
        with self._changing:
            footer = self._footers.get(name)
            if footer is not None:
                self._footers.move_to_end(name)
        file = pq.ParquetFile(
            self._folder / name,
            metadata=footer,
            pre_buffer=False,
            page_checksum_verification=True,
        )
        if footer is None:
            with self._changing:
                self._footers[name] = file.metadata
                while len(self._footers) > _FOOTERS_KEPT:
                    self._footers.popitem(last=False)
        return file


def _write(path: Path, table: pa.Table, group_rows: int) -> None:
    try:
        _write_storable(path, to_storable(table), group_rows)
    except (pa.ArrowException, NotImplementedError):
        # A value that Parquet cannot hold, such as a time beyond its range.
        _write_storable(path, to_storable(table, only_cells=True), group_rows)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_storable(path: Path, table: pa.Table, group_rows: int) -> None:
    # Statistics of each column would make footers, which readers keep, grow with the columns.
    pq.write_table(
        table,
        path,
        row_group_size=group_rows,
        compression="zstd",
        compression_level=_COMPRESSION_LEVEL,
        use_dictionary=[f.name for f in table.schema if _is_dictionary(f.type)],
        column_encoding=dict(_encodings(table.schema)),
        write_statistics=["time"],
        write_page_checksum=True,
    )


def _is_dictionary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_dictionary(kind) or pa.types.is_string(kind))


def _encodings(schema: pa.Schema) -> Iterator[tuple[str, str]]:
    """Yield encodings that make floats and counting numbers small."""
    for name in ("time", "sequence", "record"):
        yield name, "DELTA_BINARY_PACKED"
    for field in schema:
        kind, path = field.type, field.name
        if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
            kind, path = kind.value_type, f"{path}.list.element"
        if pa.types.is_float32(kind) or pa.types.is_float64(kind):
            yield path, "BYTE_STREAM_SPLIT"


def _restored(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return the table in the types of ``schema``.

    Raises:
        pa.ArrowInvalid: The file has other columns.
    """
    if table.schema.names != schema.names:
        table = _selected(table, schema)
    columns = [
        from_stored(table.column(number), table.field(number), field)
        for number, field in enumerate(schema)
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def _selected(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return the columns of ``schema``: a name with dots brings those that it begins, too."""
    kept = [number for number, name in enumerate(table.column_names) if name in schema.names]
    selected = table.select(kept)
    if selected.schema.names != schema.names:
        raise pa.ArrowInvalid(f"a segment has the columns {table.column_names}")
    return selected


def to_batch(table: pa.Table) -> pa.RecordBatch:
    """Return the rows of a table that are few enough for one batch."""
    batches = table.combine_chunks().to_batches()
    if len(batches) == 1:
        return batches[0]
    return pa.concat_batches(batches or [pa.RecordBatch.from_pylist([], schema=table.schema)])
