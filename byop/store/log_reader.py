"""Readers of the inference log: pages, followers, scans, over connections of their own."""

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import structlog

from byop.errors import InvalidPayloadError, StorageUnavailableError
from byop.ports.inference_log import FollowedPage, LogPage, LogQuery, LogScan, MissingRows
from byop.store.cursors import (
    decode_cursor,
    decode_watermark,
    encode_cursor,
    encode_watermark,
)
from byop.store.log_batches import BatchFiles, batch_folder
from byop.store.log_database import open_for_reading
from byop.store.log_lookup import LogLookup
from byop.store.log_pages import follow_page, read_page
from byop.store.log_scans import open_batch_files, scan_batches
from byop.store.log_segments import SegmentFiles, segment_folder
from byop.store.log_snapshot import LogMovedError, LogSnapshot

_ATTEMPTS = 20
_log = structlog.get_logger(__name__)
_T = TypeVar("_T")


class LogReader:
    """Reads over connections of its own, which threads take and put back."""

    def __init__(self, path: Path, *, cursor_key: bytes, page_bytes: int) -> None:
        self._path = path
        self._segments = SegmentFiles(segment_folder(path))
        self._cursor_key = cursor_key
        self._page_bytes = page_bytes
        self._lookup = LogLookup()
        self._idle: list[sqlite3.Connection] = []
        self._changing = threading.Lock()
        self._is_open = True

    def read(self, query: LogQuery) -> LogPage:
        """Return a page."""
        _check_limit(query.limit)
        key = self._cursor_key
        start = None if query.cursor is None else decode_cursor(key, query, query.cursor)
        page = self._read(
            query.topic,
            lambda snapshot: read_page(
                snapshot,
                query,
                start,
                limit_bytes=self._page_bytes,
                cursor_of=lambda position: encode_cursor(key, query, position),
            ),
        )
        self._tell(query.topic, page.missing)
        return page

    def follow(self, topic: str, watermark: str | None, limit: int) -> FollowedPage:
        """Return the rows behind the watermark."""
        _check_limit(limit)
        key = self._cursor_key
        marks = {} if watermark is None else decode_watermark(key, topic, watermark)
        page = self._read(
            topic,
            lambda snapshot: follow_page(
                snapshot,
                marks,
                limit=limit,
                limit_bytes=self._page_bytes,
                watermark_of=lambda after: encode_watermark(key, topic, after),
            ),
        )
        self._tell(topic, page.missing)
        return page

    def scan(self, scan: LogScan) -> Iterator[pa.RecordBatch]:
        """Yield flat batches."""
        for left in reversed(range(_ATTEMPTS)):
            with (
                self._connected() as connection,
                self._snapshot(connection, scan.topic) as snapshot,
            ):
                try:
                    open_batch_files(snapshot)
                except LogMovedError as moved:
                    if left:
                        continue
                    raise StorageUnavailableError(
                        f"rows of the inference log are missing: {moved.__cause__}"
                    ) from moved
                yield from scan_batches(snapshot, scan)
                return

    def close(self) -> None:
        """Close the idle connections, and those in use when they are put back."""
        with self._changing:
            self._is_open = False
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _read(self, topic: str, work: Callable[[LogSnapshot], _T]) -> _T:
        """Return what ``work`` makes of a snapshot, a new one when files went meanwhile."""
        for _ in range(_ATTEMPTS):
            with self._connected() as connection, self._snapshot(connection, topic) as snapshot:
                try:
                    return work(snapshot)
                except LogMovedError:
                    continue
        raise StorageUnavailableError("the inference log is rolled faster than it can be read")

    @contextmanager
    def _snapshot(self, connection: sqlite3.Connection, topic: str) -> Iterator[LogSnapshot]:
        files = BatchFiles(batch_folder(self._path))
        connection.execute("BEGIN")
        try:
            yield LogSnapshot(
                connection,
                topic=topic,
                lookup=self._lookup,
                segments=self._segments,
                files=files,
                is_there=self._is_there,
            )
        finally:
            connection.execute("ROLLBACK")
            files.close()

    def _is_there(self, statement: str, values: tuple[int | str, ...]) -> bool:
        with self._connected() as connection:
            return connection.execute(statement, values).fetchone() is not None

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        with self._changing:
            if not self._is_open:
                raise StorageUnavailableError("the inference log is closed")
            connection = self._idle.pop() if self._idle else None
        try:
            connection = connection or open_for_reading(self._path)
            try:
                yield connection
            finally:
                self._put_back(connection)
        except (sqlite3.Error, OSError) as error:
            raise StorageUnavailableError(f"the inference log cannot be read: {error}") from error

    def _put_back(self, connection: sqlite3.Connection) -> None:
        with self._changing:
            if self._is_open:
                self._idle.append(connection)
                return
        connection.close()

    def _tell(self, topic: str, missing: Sequence[MissingRows]) -> None:
        for one in missing:
            _log.error("log rows are missing", topic=topic, rows=one.rows, reason=one.reason)


def _check_limit(limit: int) -> None:
    if limit < 1:
        raise InvalidPayloadError(f"a page of {limit} rows cannot be read: ask for 1")
