"""One state of the inference log, and its runs in the order of time or of a partition's commits."""

import sqlite3
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from byop.ports.inference_log import LogOrder
from byop.store.log_batches import BatchFiles
from byop.store.log_lookup import LogLookup
from byop.store.log_rows import LogSchema, Origin
from byop.store.log_runs import Boundary, Container, Entry, GroupRows, HotRun, Lost
from byop.store.log_segments import LogKey, SegmentFiles

UNREADABLE = (OSError, pa.ArrowException)
"""What a file that was lost or damaged may cause."""

TAIL_COLUMNS = (
    "time_ms, partition_id, seq, rows, schema_id, size, origin_id, elapsed_ns, file_offset, batch"
)
TailRow = tuple[int, int, int, int, int, int, int, str, int | None, bytes | None]
_LOWEST, _HIGHEST = -(1 << 63), (1 << 63) - 1


class LogMovedError(Exception):
    """What this state refers to was rolled or removed meanwhile: read again."""


class Window(NamedTuple):
    """Rows from ``low`` on to before ``high``, and the order to give them in.

    ``stored_seq`` is where the stored row begins that holds ``low``.
    """

    low: LogKey
    high: LogKey
    stored_seq: int
    order: LogOrder

    def holds(self, first: LogKey, last: LogKey) -> bool:
        """Return whether all rows from ``first`` to ``last`` are inside."""
        return first >= self.low and last < self.high

    def meets(self, first: LogKey, last: LogKey) -> bool:
        """Return whether a row from ``first`` to ``last`` may be inside."""
        return last >= self.low and first < self.high


class _Group(NamedTuple):
    """A row group as the manifest knows it; ``end_seq`` is of the followed partition."""

    name: str
    number: int
    schema: LogSchema
    rows: int
    end_seq: int = 0


class LogSnapshot:
    """The log as one read transaction of ``connection`` sees it.

    Args:
        connection: In a transaction.
        lookup: Remembers what ids mean.
        segments: Reads segments.
        files: Reads batch files, for as long as the snapshot.
        is_there: Asks the newest state, apart from this one: does the query have a row?
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        *,
        topic: str,
        lookup: LogLookup,
        segments: SegmentFiles,
        files: BatchFiles,
        is_there: Callable[[str, tuple[int | str, ...]], bool],
    ) -> None:
        self.connection = connection
        self.segments = segments
        self.files = files
        self.lookup = lookup
        self._is_there = is_there
        self.topic_id = lookup.topic_id(connection, topic)
        self._removals: list[tuple[int, int]] = connection.execute(
            "SELECT partition_id, end_seq FROM removals WHERE topic_id = ?", (self.topic_id,)
        ).fetchall()

    def by_time(self, window: Window) -> Iterator[Iterator[Entry]]:
        """Yield the sources of the rows in the window, in its order."""
        if self.topic_id is None:
            return
        yield self._hot_by_time(window)
        yield self._segments_by_time(window)

    def by_place(self, partition_id: int, first_seq: int) -> Iterator[Iterator[Entry]]:
        """Yield the sources of a partition's rows from ``first_seq`` on, by sequence."""
        yield self._hot_by_place(partition_id, first_seq)
        yield self._groups_by_place(partition_id, first_seq)

    def partition_ids(self) -> list[int]:
        """Return the partitions that have rows of the topic."""
        found: set[int] = set()
        for table in ("tail", "segment_places"):
            statement = f"SELECT DISTINCT partition_id FROM {table} WHERE topic_id = ?"  # noqa: S608
            found.update(one for (one,) in self.connection.execute(statement, (self.topic_id,)))
        return sorted(found)

    def lost_run(self, run: HotRun, error: Exception) -> Lost:
        """Return the rows of a run whose batch cannot be read.

        Raises:
            LogMovedError: They are in a segment meanwhile.
        """
        place = (self.topic_id or 0, run.partition_id, run.seq)
        is_there = self._is_there(
            "SELECT 1 FROM tail AS t WHERE topic_id = ? AND partition_id = ? AND seq = ? AND NOT"
            " EXISTS (SELECT 1 FROM removals AS r WHERE r.topic_id = t.topic_id"
            " AND r.partition_id = t.partition_id AND r.end_seq > t.seq)",
            place,
        )
        if not is_there:
            raise LogMovedError from error
        return Lost(run.rows, run.seq + run.rows, f"{type(error).__name__}: {error}")

    def why_lost(self, name: str, error: Exception) -> str:
        """Return why a segment cannot be read.

        Raises:
            LogMovedError: Retention removed it meanwhile.
        """
        if not self._is_there("SELECT 1 FROM segments WHERE name = ?", (name,)):
            raise LogMovedError from error
        return f"segment {name}: {type(error).__name__}: {error}"

    def tail_rows(self, conditions: str, values: list[int], order: str) -> sqlite3.Cursor:
        """Return TailRows of the topic that are not rolled."""
        statement, bound = tail_statement(self.topic_id or 0, self._removals, conditions, order)
        return self.connection.execute(statement, bound + values)

    def hot_runs(self, conditions: str, values: list[int], order: str) -> Iterator[HotRun]:
        """Yield rows of ``tail`` that are not rolled."""
        connection, lookup, files = self.connection, self.lookup, self.files
        shared: dict[tuple[int, int, int], tuple[LogSchema, Origin, str]] = {}
        for row in self.tail_rows(conditions, values, order):
            time_ms, partition_id, seq, rows, schema_id, size, origin_id, elapsed, offset, at = row
            ids = (schema_id, origin_id, partition_id)
            known = shared.get(ids)
            if known is None:
                known = shared[ids] = (
                    lookup.schema(connection, schema_id),
                    lookup.origin(connection, origin_id),
                    lookup.partition(connection, partition_id),
                )
            schema, origin, partition = known
            yield HotRun(
                time_ms,
                partition_id,
                seq,
                rows,
                schema,
                size,
                origin,
                elapsed,
                partition,
                offset,
                at,
                files,
            )

    def _hot_by_time(self, window: Window) -> Iterator[Entry]:
        conditions, values, order = time_conditions(window)
        runs = self.hot_runs(conditions, values, order)
        if window.order is LogOrder.ASCENDING:
            for run in runs:
                yield (run[0], run[1], run[2]), run
        else:
            for run in runs:
                yield (-run[0], -run[1], 1 - run[2] - run[3]), run

    def _segments_by_time(self, window: Window) -> Iterator[Entry]:
        is_ascending = window.order is LogOrder.ASCENDING
        order = "first_ms" if is_ascending else "last_ms DESC"
        found = self.connection.execute(
            "SELECT id, name, schema_id, first_ms, last_ms FROM segments"  # noqa: S608 (constants)
            " WHERE topic_id = ? AND last_ms >= ? AND first_ms <= ?"
            f" ORDER BY {order}",
            (self.topic_id, window.low.time_ms, window.high.time_ms),
        )
        for segment_id, name, schema_id, first_ms, last_ms in found:
            schema = self.lookup.schema(self.connection, schema_id)
            lowest = first_ms if is_ascending else -last_ms
            opened = partial(self._groups_by_time, window, segment_id, name, schema)
            yield (lowest, _LOWEST, _LOWEST), Container(opened)

    def _groups_by_time(
        self, window: Window, segment_id: int, name: str, schema: LogSchema
    ) -> Iterator[Entry]:
        is_ascending = window.order is LogOrder.ASCENDING
        found = self.connection.execute(
            "SELECT number, rows, first_ms, first_partition_id, first_seq, last_ms,"  # noqa: S608
            " last_partition_id, last_seq FROM segment_groups WHERE segment_id = ?"
            f" ORDER BY number {'ASC' if is_ascending else 'DESC'}",
            (segment_id,),
        )
        for number, rows, *bounds in found:
            first, last = LogKey(*bounds[:3]), LogKey(*bounds[3:])
            if not window.meets(first, last):
                continue
            key = first if is_ascending else LogKey(*(-one for one in last))
            boundary = Boundary(first if is_ascending else last, schema)
            group = _Group(name, number, schema, rows)
            opened = partial(self._rows_by_time, window, group)
            yield key, Container(opened, boundary if window.holds(first, last) else None)

    def _rows_by_time(self, window: Window, known: _Group) -> Iterator[Entry]:
        try:
            group = self._read(known)
        except UNREADABLE as error:
            yield (_LOWEST,), self._lost_group(known, error)
            return
        inside = np.flatnonzero(_is_from(group, window.low) & ~_is_from(group, window.high))
        if window.order is LogOrder.ASCENDING:
            for run in group.runs(inside):
                yield (run.time_ms, run.partition_id, run.seq), run
        else:
            for run in group.runs(inside, is_reversed=True):
                yield (-run.time_ms, -run.partition_id, 1 - run.seq - run.rows), run

    def _hot_by_place(self, partition_id: int, first_seq: int) -> Iterator[Entry]:
        conditions = (
            " AND partition_id = ? AND seq >= coalesce((SELECT max(seq) FROM tail"
            " WHERE topic_id = ? AND partition_id = ? AND seq <= ?), ?)"
        )
        values = [partition_id, self.topic_id or 0, partition_id, first_seq, first_seq]
        for run in self.hot_runs(conditions, values, "seq"):
            if run.seq + run.rows > first_seq:
                yield (run.seq,), run

    def _groups_by_place(self, partition_id: int, first_seq: int) -> Iterator[Entry]:
        found = self.connection.execute(
            "SELECT p.first_seq, p.end_seq, p.number, p.rows, s.name, s.schema_id"
            " FROM segment_places AS p JOIN segments AS s ON s.id = p.segment_id"
            " WHERE p.topic_id = ? AND p.partition_id = ? AND p.end_seq > ? ORDER BY p.first_seq",
            (self.topic_id, partition_id, first_seq),
        )
        for first, end_seq, number, rows, name, schema_id in found:
            schema = self.lookup.schema(self.connection, schema_id)
            group = _Group(name, number, schema, rows, end_seq)
            opened = partial(self._rows_by_place, partition_id, first_seq, group)
            yield (first,), Container(opened, Boundary((first,), schema))

    def _rows_by_place(self, partition_id: int, first_seq: int, known: _Group) -> Iterator[Entry]:
        try:
            group = self._read(known)
        except UNREADABLE as error:
            yield (_LOWEST,), self._lost_group(known, error)
            return
        own = np.flatnonzero((group.partition_id == partition_id) & (group.seq >= first_seq))
        for run in group.runs(own[np.argsort(group.seq[own])]):
            yield (run.seq,), run

    def _read(self, group: _Group) -> GroupRows:
        """Return the rows of a row group, or raise one of UNREADABLE."""
        flat = self.segments.read_group(group.name, group.number, group.schema)
        return GroupRows(flat, group.schema, self._partition_id)

    def _lost_group(self, group: _Group, error: Exception) -> Lost:
        return Lost(group.rows, group.end_seq, self.why_lost(group.name, error))

    def _partition_id(self, name: str) -> int:
        try:
            return self.lookup.partition_id(self.connection, name)
        except ValueError as error:
            raise pa.ArrowInvalid(str(error)) from None


def tail_statement(
    topic_id: int, removals: list[tuple[int, int]], conditions: str, order: str
) -> tuple[str, list[int]]:
    """Return what selects rows of ``tail``, without those that are rolled."""
    rolled = " AND (partition_id <> ? OR seq >= ?)" * len(removals)
    statement = (  # made of constants, every value is bound
        f"SELECT {TAIL_COLUMNS} FROM tail WHERE topic_id = ?{rolled}{conditions} ORDER BY {order}"  # noqa: S608
    )
    return statement, [topic_id, *(value for removal in removals for value in removal)]


def time_conditions(window: Window) -> tuple[str, list[int], str]:
    """Return conditions, their values and the order that select the window's rows of ``tail``."""
    low, high = window.low, window.high
    # SQLite searches by the times: the row of the cursor is told by more.
    conditions = " AND time_ms >= ? AND time_ms <= ?"
    values = [low.time_ms, high.time_ms]
    if low.partition_id != _LOWEST:
        conditions += " AND (time_ms, partition_id, seq) >= (?, ?, ?)"
        values += [low.time_ms, low.partition_id, window.stored_seq]
    conditions += " AND (time_ms, partition_id, seq) < (?, ?, ?)"
    values += high
    way = "ASC" if window.order is LogOrder.ASCENDING else "DESC"
    return conditions, values, f"time_ms {way}, partition_id {way}, seq {way}"


def from_time(time_ms: int | None, *, otherwise: int) -> LogKey:
    """Return the key before every row of a time."""
    return LogKey(otherwise if time_ms is None else time_ms, _LOWEST, _LOWEST)


def everything(order: LogOrder, start_ms: int | None, end_ms: int | None) -> Window:
    """Return the window between two times; None is open."""
    low = from_time(start_ms, otherwise=_LOWEST)
    high = (
        LogKey(_HIGHEST, _HIGHEST, _HIGHEST) if end_ms is None else from_time(end_ms, otherwise=0)
    )
    return Window(low, high, _LOWEST, order)


def _is_from(group: GroupRows, key: LogKey) -> np.ndarray:
    """Return for each row whether it is ``key`` or after it."""
    is_later = (group.partition_id > key.partition_id) | (
        (group.partition_id == key.partition_id) & (group.seq >= key.seq)
    )
    return np.asarray((group.time_ms > key.time_ms) | ((group.time_ms == key.time_ms) & is_later))
