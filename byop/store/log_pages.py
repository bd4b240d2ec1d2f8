"""Pages of the inference log: runs of rows until the page is full or the columns change."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from itertools import groupby
from typing import NamedTuple

import pyarrow as pa

from byop.domain.inferences import InferenceMetadata, InferenceRecord, JoinedRecords
from byop.ports.inference_log import (
    FollowedPage,
    LogOrder,
    LogPage,
    LogPosition,
    LogQuery,
    MissingRows,
    PageStatus,
)
from byop.store.cursors import CursorPosition
from byop.store.log_rows import LogSchema, reverse_rows
from byop.store.log_runs import Boundary, HotRun, Lost, Piece, Run, merge
from byop.store.log_segments import LogKey, to_batch
from byop.store.log_snapshot import UNREADABLE, LogSnapshot, Window, everything

_JOINED_BYTES = 32 << 10
"""Batches smaller than this on average are joined."""


class _Chosen(NamedTuple):
    """Rows of one run behind ``given``; ``batch`` is None while the run is not decoded."""

    time_ms: int
    metadata: InferenceMetadata
    run: Run
    given: int
    batch: pa.RecordBatch | None

    @property
    def rows(self) -> int:
        return self.run.rows if self.batch is None else int(self.batch.num_rows)

    def decoded(self) -> pa.RecordBatch:
        return self.run.batch() if self.batch is None else self.batch


class PageRows:
    """The rows of a page while it is filled."""

    def __init__(self, *, limit: int, limit_bytes: int, is_descending: bool = False) -> None:
        self._rows_left = limit
        self._bytes_left = self._limit_bytes = limit_bytes
        self._is_descending = is_descending
        self._schema: LogSchema | None = None
        self._chosen: list[_Chosen] = []
        self.missing: list[MissingRows] = []

    def ends_before(self, piece: Run | Boundary) -> PageStatus | None:
        """Return why the page ends before ``piece``; None when it goes on there."""
        if self._rows_left == 0:
            return PageStatus.RECORD_LIMITED
        if self._schema is not None and not _are_same(self._schema, piece.schema):
            return PageStatus.SCHEMA_CHANGE
        if self._chosen and not isinstance(piece, Boundary) and piece.size > self._bytes_left:
            return PageStatus.BYTE_LIMITED
        return None

    def take(self, run: Run, given: int) -> int:
        """Add rows of the run after the first ``given`` ones and return how many.

        Raises:
            OSError: The rows cannot be read; nothing was added.
            pa.ArrowException: The rows are not what was written; nothing was added.
        """
        count = min(self._rows_left, run.rows - given)
        batch = None
        if count < run.rows:
            start = run.rows - given - count if self._is_descending else given
            batch = run.batch().slice(start, count)
        elif not isinstance(run, HotRun) or run.stored is None:
            batch = run.batch()
        self._chosen.append(_Chosen(run.time_ms, run.metadata(), run, given, batch))
        self._schema = run.schema
        self._rows_left -= count
        self._bytes_left -= run.size
        return count

    def lose(self, lost: Lost) -> None:
        """Note rows that cannot be read."""
        self.missing.append(MissingRows(lost.rows, lost.reason))

    def records(self) -> Sequence[InferenceRecord]:
        """Return what was taken, without what turns out to be no longer what was written."""
        try:
            return self._records()
        except UNREADABLE:
            self._drop_unreadable()
            return self._records()

    def positions(self) -> list[LogPosition]:
        """Return where the first row of each record lies, after ``records``."""
        return [LogPosition(one.run.partition, one.run.seq + one.given) for one in self._chosen]

    def _records(self) -> Sequence[InferenceRecord]:
        schema = self._schema
        if schema is None:
            return []
        size = self._limit_bytes - self._bytes_left
        is_small = size < _JOINED_BYTES * len(self._chosen)
        if is_small and len(self._chosen) > 1 and not schema.holds_dictionary:
            return self._together(schema)
        return [self._record(schema, one) for one in self._chosen]

    def _drop_unreadable(self) -> None:
        kept = []
        for one in self._chosen:
            try:
                kept.append(one._replace(batch=one.decoded()))
            except UNREADABLE as error:
                self.missing.append(MissingRows(one.rows, _reason(error)))
        self._chosen = kept

    def _record(self, schema: LogSchema, chosen: _Chosen) -> InferenceRecord:
        batch = reverse_rows(chosen.decoded()) if self._is_descending else chosen.decoded()
        inputs, outputs, anomalies = schema.split(batch)
        return InferenceRecord(chosen.time_ms, inputs, outputs, anomalies, chosen.metadata)

    def _together(self, schema: LogSchema) -> JoinedRecords:
        """Return the records with their rows in one batch, in the page's order."""
        joined = self._joined(schema)
        counts = [one.rows for one in self._chosen]
        if joined.num_rows != sum(counts):
            raise pa.ArrowInvalid("stored batches have other rows than were written")
        if self._is_descending:
            joined = reverse_rows(joined)
        times_ms = [one.time_ms for one in self._chosen]
        metadata = [one.metadata for one in self._chosen]
        inputs, outputs, anomalies = schema.split(joined)
        return JoinedRecords(times_ms, counts, inputs, outputs, anomalies, metadata)

    def _joined(self, schema: LogSchema) -> pa.RecordBatch:
        """Return all rows, ascending."""
        chosen = self._chosen[::-1] if self._is_descending else self._chosen
        parts: list[pa.RecordBatch] = []
        for is_waiting, group in groupby(chosen, key=lambda one: one.batch is None):
            if is_waiting:
                stored = [one.run.stored for one in group if isinstance(one.run, HotRun)]
                parts.append(to_batch(schema.decode_all([one for one in stored if one])))
            else:
                parts += [one.decoded() for one in group]
        return parts[0] if len(parts) == 1 else pa.concat_batches(parts)


def read_page(
    snapshot: LogSnapshot,
    query: LogQuery,
    start: CursorPosition | None,
    *,
    limit_bytes: int,
    cursor_of: Callable[[CursorPosition], str],
) -> LogPage:
    """Return a page of the snapshot."""
    is_descending = query.order is LogOrder.DESCENDING
    rows = PageRows(limit=query.limit, limit_bytes=limit_bytes, is_descending=is_descending)

    def page(status: PageStatus, position: CursorPosition) -> LogPage:
        return LogPage(rows.records(), status, cursor_of(position), rows.missing)

    for piece in _merged(merge(snapshot.by_time(_window(query, start)))):
        if isinstance(piece, Lost):
            rows.lose(piece)
            continue
        given = 0 if isinstance(piece, Boundary) else _given(piece, start, is_descending)
        status = rows.ends_before(piece)
        if status is not None:
            return page(status, _position(piece, given, is_descending))
        if isinstance(piece, Boundary):
            continue
        try:
            count = rows.take(piece, given)
        except UNREADABLE as error:
            rows.lose(_lost(snapshot, piece, error))
            continue
        if given + count < piece.rows:
            rest = _position(piece, given + count, is_descending)
            return page(PageStatus.RECORD_LIMITED, rest)
    return LogPage(rows.records(), PageStatus.ALL, None, rows.missing)


def follow_page(
    snapshot: LogSnapshot,
    marks: dict[int, int],
    *,
    limit: int,
    limit_bytes: int,
    watermark_of: Callable[[dict[int, int]], str],
) -> FollowedPage:
    """Return the rows of the snapshot behind the marks: the next sequence by partition id."""
    rows = PageRows(limit=limit, limit_bytes=limit_bytes)
    partition_ids = snapshot.partition_ids()
    # A partition without rows needs no mark: whatever it gets will be behind it.
    marks = {one: marks.get(one, 0) for one in partition_ids}
    has_more = False
    for partition_id in partition_ids:
        has_more = _follow_partition(snapshot, partition_id, marks, rows)
        if has_more:
            break
    records = rows.records()
    return FollowedPage(records, rows.positions(), watermark_of(marks), has_more, rows.missing)


def _follow_partition(
    snapshot: LogSnapshot, partition_id: int, marks: dict[int, int], rows: PageRows
) -> bool:
    """Take rows of the partition and move its mark; return whether the page ended before some."""
    lost_end = 0
    for piece in _merged(merge(snapshot.by_place(partition_id, marks[partition_id]))):
        if isinstance(piece, Lost):
            rows.lose(piece)
            lost_end = max(lost_end, piece.end_seq)
            continue
        if rows.ends_before(piece) is not None:
            return True
        if isinstance(piece, Boundary):
            continue
        given = max(0, marks[partition_id] - piece.seq)
        try:
            count = rows.take(piece, given)
        except UNREADABLE as error:
            rows.lose(_lost(snapshot, piece, error))
            marks[partition_id] = piece.seq + piece.rows
            continue
        marks[partition_id] = piece.seq + given + count
        if given + count < piece.rows:
            return True
    # Rows of a lost group lie between others: only here all of those were given.
    marks[partition_id] = max(marks[partition_id], lost_end)
    return False


def _merged(pieces: Iterator[Piece]) -> Iterator[Piece]:
    """Yield the pieces and end their SQL statements with the loop over them."""
    with closing(pieces):  # type: ignore[type-var]  # merge is a generator
        yield from pieces


def _lost(snapshot: LogSnapshot, run: Run, error: Exception) -> Lost:
    if isinstance(run, HotRun):
        return snapshot.lost_run(run, error)
    return Lost(run.rows, run.seq + run.rows, _reason(error))


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _window(query: LogQuery, start: CursorPosition | None) -> Window:
    window = everything(query.order, query.start_ms, query.end_ms)
    if start is None:
        return window
    if query.order is LogOrder.ASCENDING:
        low = LogKey(start.time_ms, start.partition_id, start.next_seq)
        return window._replace(low=low, stored_seq=start.seq)
    return window._replace(high=LogKey(start.time_ms, start.partition_id, start.next_seq + 1))


def _given(run: Run, start: CursorPosition | None, is_descending: bool) -> int:
    """Return how many rows of the run earlier pages gave."""
    if start is None or run[:2] != (start.time_ms, start.partition_id):
        return 0
    if is_descending:
        return max(0, run.seq + run.rows - 1 - start.next_seq)
    return max(0, start.next_seq - run.seq)


def _position(piece: Run | Boundary, given: int, is_descending: bool) -> CursorPosition:
    """Return where to go on after ``given`` rows of the piece."""
    if isinstance(piece, Boundary):
        time_ms, partition_id, seq = piece.key
        return CursorPosition(time_ms, partition_id, seq, seq)
    next_seq = piece.seq + piece.rows - 1 - given if is_descending else piece.seq + given
    return CursorPosition(piece.time_ms, piece.partition_id, piece.seq, next_seq)


def _are_same(one: LogSchema, other: LogSchema) -> bool:
    return one is other or one.schema.equals(other.schema)
