"""Rolls the inference log: rows of the database become segments, old segments go.

A roll of a topic: its oldest committed rows are written to Parquet files, flushed and named; then
one transaction enters these in the manifest and takes the rows out of what readers see. A crash
before it leaves files that nobody refers to (removed by the next pass), a crash after it rows that
nobody sees (removed by the next pass). Rows are deleted a few at a time: writers wait for each
transaction. One roller works at a time: it holds a lock on a file, which dies with its process.
"""

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import structlog

from byop.errors import StorageUnavailableError
from byop.store.log_batches import (
    BatchFiles,
    batch_folder,
    first_place,
    locked_file,
    split_batch_file_name,
    sync_folder,
)
from byop.store.log_database import open_for_writing
from byop.store.log_flat import StoredFacts
from byop.store.log_gathering import GatheredRows
from byop.store.log_lookup import LogLookup
from byop.store.log_manifest import add_segment, mark_rolled, remove_old_segments, segment_names
from byop.store.log_segments import (
    LogKey,
    Place,
    SegmentGroup,
    WrittenSegment,
    lost_segment_name,
    segment_files,
    segment_folder,
    write_segment,
)

_LOCK = "roller.lock"
_BUSY_TIMEOUT_S = 5.0
_SEGMENT_ROWS = 100_000
_SEGMENT_BYTES = 64 << 20
_READ_AT_ONCE = 256
_SHORT_BREATH_S = 0.0005
"""Between these, so that a waiting append wins the GIL."""
_REMOVED_AT_ONCE = 250
_REMOVE = (
    "DELETE FROM tail WHERE id IN (SELECT id FROM tail"
    " WHERE topic_id = ? AND partition_id = ? AND seq < ? LIMIT ?)"
)
_BREATH_S = 0.005
"""Between two removals, so that a waiting append gets its turn."""
_DAY_S = 86_400

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RollPolicy:
    """When a topic is rolled (it has so many rows or bytes, or a row so old), what is kept.

    ``retention_days`` and ``retention_bytes`` count rolled rows; 0 keeps all.
    """

    rows: int = 100_000
    size_bytes: int = 64 << 20
    age_s: int = _DAY_S
    retention_days: int = 0
    retention_bytes: int = 0

    def is_due(self, tail: "_Tail", now_ms: int) -> bool:
        """Return whether a topic is to be rolled."""
        age_s = self.age_s
        if self.retention_days:
            age_s = min(age_s, self.retention_days * _DAY_S)
        is_large = tail.rows >= self.rows or tail.size_bytes >= self.size_bytes
        return is_large or tail.oldest_ms <= now_ms - age_s * 1000


class _Tail(NamedTuple):
    topic_id: int
    rows: int
    size_bytes: int
    oldest_ms: int


class LogRoller:
    """Passes over one log. Used by one thread; several rollers of one log take turns.

    Args:
        path: The log's database file, which is there.
        now_ms: Tells the time.
        is_stopped: Asked now and then; a pass ends early, in good order, when it is true.
    """

    def __init__(
        self,
        path: Path,
        policy: RollPolicy,
        *,
        now_ms: Callable[[], int],
        is_stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self._path = path
        self._policy = policy
        self._now_ms = now_ms
        self._is_stopped = is_stopped
        self._folder = segment_folder(path)
        self._lookup = LogLookup()
        self._pause = threading.Event()

    def run(self) -> bool:
        """Roll what is due, remove what is old; False when another roller is at it.

        Raises:
            StorageUnavailableError: The database refuses.
            OSError: The disk refuses.
        """
        self._folder.mkdir(mode=0o700, exist_ok=True)
        lock = self._folder / _LOCK
        lock.touch(mode=0o600)
        with locked_file(lock) as is_mine:
            if is_mine:
                # Files may be deleted only after it is sure that their rows are not needed.
                with closing(
                    open_for_writing(self._path, "power", busy_timeout_s=_BUSY_TIMEOUT_S)
                ) as connection:
                    self._run(connection)
        return is_mine

    def _run(self, connection: sqlite3.Connection) -> None:
        try:
            self._remove_orphans(connection)
            self._remove_rolled(connection)
            for tail in self._tails(connection):
                if self._policy.is_due(tail, self._now_ms()):
                    self._roll_topic(connection, tail)
            self._retain(connection)
            self._remove_batch_files(connection)
        except sqlite3.Error as error:
            raise StorageUnavailableError(f"the inference log cannot be rolled: {error}") from error

    def _tails(self, connection: sqlite3.Connection) -> list[_Tail]:
        found = connection.execute(
            "SELECT topic_id, sum(rows), sum(size), min(time_ms) FROM tail GROUP BY topic_id"
        )
        return [_Tail(*row) for row in found]

    def _roll_topic(self, connection: sqlite3.Connection, tail: _Tail) -> None:
        rows, size_bytes = tail.rows, tail.size_bytes
        while not self._is_stopped():
            done = self._roll(connection, tail.topic_id)
            if done is None:
                return
            self._remove_rolled(connection)
            rows, size_bytes = rows - done.rows, size_bytes - done.size_bytes
            if not self._policy.is_due(
                _Tail(tail.topic_id, rows, size_bytes, tail.oldest_ms), self._now_ms()
            ):
                return

    def _roll(self, connection: sqlite3.Connection, topic_id: int) -> _Tail | None:
        """Roll the oldest rows of a topic; return how much that was, None when there are none."""
        by_schema: dict[int, GatheredRows] = {}
        ends: dict[int, int] = {}
        rows = size_bytes = 0
        for schema_id, facts, encoded, size in self._oldest(connection, topic_id):
            if schema_id not in by_schema:
                by_schema[schema_id] = GatheredRows(
                    self._lookup.schema(connection, schema_id),
                    partial(self._lookup.partition, connection),
                )
            by_schema[schema_id].add(facts, encoded)
            ends[facts.partition_id] = facts.seq + facts.rows
            rows += facts.rows
            size_bytes += size
            if rows >= max(_SEGMENT_ROWS, self._policy.rows) or size_bytes >= _SEGMENT_BYTES:
                break
        if not rows:
            return None
        (topic,) = connection.execute(
            "SELECT name FROM topics WHERE id = ?", (topic_id,)
        ).fetchone()
        written = [
            (schema_id, segment)
            for schema_id, gathered in by_schema.items()
            for segment in self._write(topic, gathered)
        ]
        self._flush_write_ahead_log()
        with _transaction(connection):
            for schema_id, segment in written:
                add_segment(connection, topic_id, schema_id, segment)
            mark_rolled(connection, topic_id, ends)
        _log.info("log rolled", topic=topic, rows=rows, segments=len(written))
        return _Tail(topic_id, rows, size_bytes, 0)

    def _oldest(
        self, connection: sqlite3.Connection, topic_id: int
    ) -> Iterator[tuple[int, StoredFacts, bytes | None, int]]:
        """Yield schema, facts, values and size of the topic's stored rows as they were committed.

        That order is also the order of sequences in each partition. None: the values are gone.
        """
        found = connection.execute(
            "SELECT schema_id, time_ms, partition_id, seq, rows, origin_id, elapsed_ns, size,"
            " file_offset, batch FROM tail WHERE id IN"
            " (SELECT id FROM tail WHERE topic_id = ? ORDER BY id LIMIT ?) ORDER BY id",
            (topic_id, max(_SEGMENT_ROWS, self._policy.rows)),
        )
        files = BatchFiles(batch_folder(self._path))
        with closing(found), closing(files):
            for number, (schema_id, time_ms, partition_id, seq, rows, *rest) in enumerate(found):
                if number % _READ_AT_ONCE == 0:
                    self._pause.wait(_SHORT_BREATH_S)
                origin_id, elapsed, size, place, encoded = rest
                origin = self._lookup.origin(connection, origin_id)
                facts = StoredFacts(time_ms, partition_id, seq, rows, origin, elapsed)
                if encoded is None:
                    partition = self._lookup.partition(connection, partition_id)
                    with contextlib.suppress(OSError):
                        encoded = files.read(partition, place, size)
                yield schema_id, facts, encoded, size

    def _write(self, topic: str, gathered: GatheredRows) -> Iterator[WrittenSegment]:
        """Write rows of one schema; those that are lost become a segment without a file."""
        flat = gathered.flat()
        if flat is not None:
            yield write_segment(self._folder, topic, flat)
        lost = gathered.lost
        if lost:
            _log.error("log rows are lost", topic=topic, rows=sum(facts.rows for facts in lost))
            yield _lost_segment(topic, lost)

    def _remove_rolled(self, connection: sqlite3.Connection) -> None:
        """Delete the rows that are in segments, a few in each transaction.

        Not flushed: what a power cut brings back is still hidden, ``removals`` was flushed.
        """
        connection.execute("PRAGMA synchronous = NORMAL")
        try:
            self._remove_a_few_at_a_time(connection)
        finally:
            connection.execute("PRAGMA synchronous = FULL")

    def _remove_a_few_at_a_time(self, connection: sqlite3.Connection) -> None:
        found = connection.execute("SELECT topic_id, partition_id, end_seq FROM removals")
        for removal in found.fetchall():
            while not self._is_stopped():
                with _transaction(connection):
                    bound = (*removal, _REMOVED_AT_ONCE)
                    removed = connection.execute(_REMOVE, bound).rowcount
                    if removed < _REMOVED_AT_ONCE:
                        connection.execute(
                            "DELETE FROM removals WHERE topic_id = ? AND partition_id = ?"
                            " AND end_seq = ?",
                            removal,
                        )
                if removed < _REMOVED_AT_ONCE:
                    break
                self._pause.wait(_BREATH_S)

    def _retain(self, connection: sqlite3.Connection) -> None:
        policy = self._policy
        if not (policy.retention_days or policy.retention_bytes):
            return
        before_ms = None
        if policy.retention_days:
            before_ms = self._now_ms() - policy.retention_days * _DAY_S * 1000
        with _transaction(connection):
            names = remove_old_segments(
                connection, before_ms=before_ms, max_bytes=policy.retention_bytes
            )
        for name in names:
            (self._folder / name).unlink(missing_ok=True)
        if names:
            _log.info("log segments removed", segments=len(names))

    def _remove_orphans(self, connection: sqlite3.Connection) -> None:
        """Delete segments that are not in the manifest: only a roller makes any."""
        known = segment_names(connection)
        for path in segment_files(self._folder):
            if str(path.relative_to(self._folder)) not in known:
                path.unlink()

    def _remove_batch_files(self, connection: sqlite3.Connection) -> None:
        """Delete the batch files that no row refers to and no writer writes."""
        folder = batch_folder(self._path)
        if not folder.exists():
            return
        for path in folder.iterdir():
            if self._is_needed(connection, path.name):
                continue
            with contextlib.suppress(FileNotFoundError), locked_file(path) as is_mine:
                # Its writer may have committed a row just before it closed the file.
                if is_mine and not self._is_needed(connection, path.name):
                    path.unlink()

    def _is_needed(self, connection: sqlite3.Connection, name: str) -> bool:
        partition, number = split_batch_file_name(name)
        found = connection.execute(
            "SELECT 1 FROM tail WHERE partition_id = (SELECT id FROM partitions WHERE name = ?)"
            " AND file_offset >= ? AND file_offset < ? LIMIT 1",
            (partition, first_place(number), first_place(number + 1)),
        )
        return found.fetchone() is not None

    def _flush_write_ahead_log(self) -> None:
        """Flush what others committed, before the transaction: its commit then flushes little."""
        log = self._path.with_name(f"{self._path.name}-wal")
        with contextlib.suppress(FileNotFoundError):
            sync_folder(log)


def _lost_segment(topic: str, lost: list[StoredFacts]) -> WrittenSegment:
    """Return a segment whose file never was: readers of the rows are told that they are missing."""
    groups = []
    for number, facts in enumerate(sorted(lost)):
        end_seq = facts.seq + facts.rows
        groups.append(
            SegmentGroup(
                number,
                facts.rows,
                LogKey(*facts[:3]),
                LogKey(facts.time_ms, facts.partition_id, end_seq - 1),
                [Place(facts.partition_id, facts.seq, end_seq, facts.rows)],
            )
        )
    return WrittenSegment(lost_segment_name(topic), 0, groups)


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
