"""Scans of the inference log: everything in a window, in flat batches."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import groupby, pairwise
from operator import itemgetter

import numpy as np
import pyarrow as pa

from byop.errors import StorageUnavailableError
from byop.ports.inference_log import LogOrder, LogScan
from byop.store.log_flat import StoredColumns, flatten
from byop.store.log_rows import LogSchema
from byop.store.log_segments import LogKey, to_batch
from byop.store.log_snapshot import (
    UNREADABLE,
    LogMovedError,
    LogSnapshot,
    TailRow,
    Window,
    everything,
    time_conditions,
)

_HOT_ROWS = 8192
_HOT_BYTES = 16 << 20
_SCHEMA, _SIZE = 4, 5
"""Columns of TailRow."""


def open_batch_files(snapshot: LogSnapshot) -> None:
    """Open what hot rows refer to: the files may be deleted while the scan runs.

    Raises:
        LogMovedError: One is gone already; a later snapshot tells whether its rows are.
    """
    found = snapshot.connection.execute(
        "SELECT DISTINCT partition_id, file_offset >> 40 FROM tail"
        " WHERE topic_id = ? AND file_offset IS NOT NULL",
        (snapshot.topic_id,),
    )
    for partition_id, number in found.fetchall():
        partition = snapshot.lookup.partition(snapshot.connection, partition_id)
        try:
            snapshot.files.open(partition, number)
        except OSError as error:
            raise LogMovedError from error


def scan_batches(snapshot: LogSnapshot, scan: LogScan) -> Iterator[pa.RecordBatch]:
    """Yield the rows of the window: those of segments first, then those not rolled yet."""
    window = everything(LogOrder.ASCENDING, scan.start_ms, scan.end_ms)
    if snapshot.topic_id is None:
        return
    for batch in _cold(snapshot, window, scan.columns):
        inside = _inside(batch, scan)
        if inside.num_rows:
            yield _chosen(inside, scan.columns)
    for batch in _hot(snapshot, window):
        yield _chosen(batch, scan.columns)


def _cold(
    snapshot: LogSnapshot, window: Window, columns: Sequence[str] | None
) -> Iterator[pa.RecordBatch]:
    connection = snapshot.connection
    found = connection.execute(
        "SELECT id, name, schema_id FROM segments"
        " WHERE topic_id = ? AND last_ms >= ? AND first_ms <= ? ORDER BY first_ms",
        (snapshot.topic_id, window.low.time_ms, window.high.time_ms),
    )
    for segment_id, name, schema_id in found.fetchall():
        groups = connection.execute(
            "SELECT number, first_ms, first_partition_id, first_seq, last_ms, last_partition_id,"
            " last_seq FROM segment_groups WHERE segment_id = ? ORDER BY number",
            (segment_id,),
        )
        numbers = [
            number
            for number, *bounds in groups
            if window.meets(LogKey(*bounds[:3]), LogKey(*bounds[3:]))
        ]
        schema = snapshot.lookup.schema(connection, schema_id)
        try:
            yield from snapshot.segments.iterate(name, numbers, schema, columns)
        except UNREADABLE as error:
            _go_on_if_removed(snapshot, name, error)


def _go_on_if_removed(snapshot: LogSnapshot, name: str, error: Exception) -> None:
    try:
        reason = snapshot.why_lost(name, error)
    except LogMovedError:
        return  # Retention took it while the scan ran.
    raise StorageUnavailableError(f"rows of the inference log are missing: {reason}")


def _hot(snapshot: LogSnapshot, window: Window) -> Iterator[pa.RecordBatch]:
    """Yield rows that are not rolled yet, of one schema and so many that a batch is worth it."""
    found = snapshot.tail_rows(*time_conditions(window))
    with closing(found):
        while rows := found.fetchmany(_HOT_ROWS):
            for schema_id, group in groupby(rows, key=itemgetter(_SCHEMA)):
                yield from _hot_batches(snapshot, schema_id, list(group))


def _hot_batches(
    snapshot: LogSnapshot, schema_id: int, rows: Sequence[TailRow]
) -> Iterator[pa.RecordBatch]:
    """Yield the rows in batches of at most about _HOT_BYTES."""
    ends = np.cumsum([row[_SIZE] for row in rows]) // _HOT_BYTES
    starts = [0, *(np.flatnonzero(np.diff(ends)) + 1).tolist(), len(rows)]
    schema = snapshot.lookup.schema(snapshot.connection, schema_id)
    for start, stop in pairwise(starts):
        yield _flat(snapshot, schema, rows[start:stop])


def _flat(snapshot: LogSnapshot, schema: LogSchema, rows: Sequence[TailRow]) -> pa.RecordBatch:
    connection, lookup = snapshot.connection, snapshot.lookup
    # By column: with objects per row this took longer than all segments.
    times, ids, seqs, counts, _, sizes, origin_ids, elapsed, places, stored = zip(
        *rows, strict=True
    )
    partitions = {one: lookup.partition(connection, one) for one in set(ids)}
    origins = {one: lookup.origin(connection, one) for one in set(origin_ids)}
    try:
        encoded = [
            snapshot.files.read(partitions[one], place, size) if kept is None else kept
            for one, place, size, kept in zip(ids, places, sizes, stored, strict=True)
        ]
        payload = schema.decode_all(encoded)
        if payload.num_rows != sum(counts):
            raise pa.ArrowInvalid("stored batches have other rows than were written")
    except UNREADABLE as error:
        raise StorageUnavailableError(f"rows of the inference log are missing: {error}") from error
    facts = StoredColumns(times, ids, seqs, counts, [origins[one] for one in origin_ids], elapsed)
    return to_batch(flatten(schema, facts, payload, partitions).table)


def _inside(batch: pa.RecordBatch, scan: LogScan) -> pa.RecordBatch:
    """Return the rows between the times of the scan."""
    times = np.asarray(batch.column("time").view(pa.int64()))
    # Rows ascend by time.
    start = 0 if scan.start_ms is None else int(np.searchsorted(times, scan.start_ms))
    stop = len(times) if scan.end_ms is None else int(np.searchsorted(times, scan.end_ms))
    return batch.slice(start, max(0, stop - start))


def _chosen(batch: pa.RecordBatch, columns: Sequence[str] | None) -> pa.RecordBatch:
    if columns is None:
        return batch
    return batch.select(
        [number for number, name in enumerate(batch.schema.names) if name in columns]
    )
