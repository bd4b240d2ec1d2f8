"""Pages of the inference log."""

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from byop.domain.inferences import InferenceMetadata, InferenceRecord
from byop.errors import InvalidPayloadError, StorageUnavailableError
from byop.ports.inference_log import LogOrder, LogPage, LogQuery, PageStatus
from byop.store.cursors import CursorPosition, decode_cursor, encode_cursor
from byop.store.log_batches import BatchFiles, batch_folder
from byop.store.log_database import open_for_reading
from byop.store.log_rows import LogSchema, Origin, reverse_rows


class _StoredRow(NamedTuple):
    time_ms: int
    partition_id: int
    seq: int
    rows: int
    schema_id: int
    origin_id: int
    elapsed_ns: str
    size: int
    partition: str
    file_offset: int | None
    batch: bytes | None

    def position(self, rows_given: int) -> CursorPosition:
        return CursorPosition(self.time_ms, self.partition_id, self.seq, rows_given)


class LogReader:
    """Reads over connections of its own, which threads take and put back."""

    def __init__(self, path: Path, *, cursor_key: bytes, page_bytes: int) -> None:
        self._path = path
        self._files = BatchFiles(batch_folder(path))
        self._cursor_key = cursor_key
        self._page_bytes = page_bytes
        self._idle: list[sqlite3.Connection] = []
        self._changing = threading.Lock()
        self._is_open = True
        self._schemas: dict[int, LogSchema] = {}
        self._origins: dict[int, Origin] = {}

    def read(self, query: LogQuery) -> LogPage:
        """Return a page."""
        if query.limit < 1:
            raise InvalidPayloadError(f"a page of {query.limit} rows cannot be read: ask for 1")
        start = None
        if query.cursor is not None:
            start = decode_cursor(self._cursor_key, query, query.cursor)
        with self._connected() as connection:
            return self._read_page(connection, query, start)

    def close(self) -> None:
        """Close the idle connections, and those in use when they are put back."""
        with self._changing:
            self._is_open = False
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()
        self._files.close()

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

    def _read_page(
        self, connection: sqlite3.Connection, query: LogQuery, start: CursorPosition | None
    ) -> LogPage:
        """Take stored rows until the page is full, the columns change or none is left."""
        records: list[InferenceRecord] = []
        page_schema: LogSchema | None = None
        rows_left, bytes_left = query.limit, self._page_bytes
        for row in map(_StoredRow._make, connection.execute(*page_statement(query, start))):
            given = start.rows_given if start is not None and row.position(0) == _at(start) else 0
            schema = self._schema(connection, row.schema_id)
            ended = None
            if rows_left == 0:
                ended = PageStatus.RECORD_LIMITED
            elif page_schema is not None and not schema.schema.equals(page_schema.schema):
                ended = PageStatus.SCHEMA_CHANGE
            elif records and row.size > bytes_left:
                ended = PageStatus.BYTE_LIMITED
            if ended is not None:
                return self._page(records, ended, query, row.position(given))
            page_schema = schema
            count = min(rows_left, row.rows - given)
            batch = _rows_of(schema.decode(self._bytes(row)), query.order, given, count)
            metadata = self._metadata(connection, row)
            records.append(schema.unpack(batch, time_ms=row.time_ms, metadata=metadata))
            rows_left -= count
            bytes_left -= row.size
            if given + count < row.rows:
                rest = row.position(given + count)
                return self._page(records, PageStatus.RECORD_LIMITED, query, rest)
        return LogPage(records, PageStatus.ALL, None)

    def _bytes(self, row: _StoredRow) -> bytes:
        if row.batch is not None:
            return row.batch
        return self._files.read(row.partition, row.file_offset or 0, row.size)

    def _page(
        self,
        records: list[InferenceRecord],
        status: PageStatus,
        query: LogQuery,
        position: CursorPosition,
    ) -> LogPage:
        return LogPage(records, status, encode_cursor(self._cursor_key, query, position))

    def _schema(self, connection: sqlite3.Connection, schema_id: int) -> LogSchema:
        known = self._schemas.get(schema_id)
        if known is None:
            (stored,) = connection.execute(
                "SELECT arrow_schema FROM schemas WHERE id = ?", (schema_id,)
            ).fetchone()
            known = LogSchema(pa.ipc.read_schema(pa.py_buffer(stored)))
            self._schemas[schema_id] = known
        return known

    def _metadata(self, connection: sqlite3.Connection, row: _StoredRow) -> InferenceMetadata:
        origin = self._origin(connection, row.origin_id)
        elapsed = tuple(map(int, row.elapsed_ns.split(","))) if row.elapsed_ns else ()
        return InferenceMetadata(
            last_model=origin.last_model,
            pipeline_version=origin.pipeline_version,
            elapsed_ns=elapsed,
            partition=origin.partition,
            dropped=origin.dropped,
        )

    def _origin(self, connection: sqlite3.Connection, origin_id: int) -> Origin:
        known = self._origins.get(origin_id)
        if known is None:
            last_model, pipeline_version, partition, dropped = connection.execute(
                "SELECT last_model, pipeline_version, partition, dropped FROM origins WHERE id = ?",
                (origin_id,),
            ).fetchone()
            known = Origin(last_model, pipeline_version, partition, tuple(json.loads(dropped)))
            self._origins[origin_id] = known
        return known


def _at(position: CursorPosition) -> CursorPosition:
    return CursorPosition(position.time_ms, position.partition_id, position.seq, 0)


def page_statement(query: LogQuery, start: CursorPosition | None) -> tuple[str, list[str | int]]:
    """Return what selects stored rows in order, from ``start`` on, that row included."""
    is_ascending = query.order is LogOrder.ASCENDING
    lowest_ms, end_ms = query.start_ms, query.end_ms
    conditions = ["topic_id = (SELECT id FROM topics WHERE name = ?)"]
    values: list[str | int] = [query.topic]
    if start is not None:
        compare = ">=" if is_ascending else "<="
        conditions.append(f"(time_ms, partition_id, seq) {compare} (?, ?, ?)")
        values += [start.time_ms, start.partition_id, start.seq]
        # SQLite searches by the window when there is one: let it begin at the cursor.
        if is_ascending:
            lowest_ms = start.time_ms
        else:
            end_ms = start.time_ms + 1
    if lowest_ms is not None:
        conditions.append("time_ms >= ?")
        values.append(lowest_ms)
    if end_ms is not None:
        conditions.append("time_ms < ?")
        values.append(end_ms)
    way = "ASC" if is_ascending else "DESC"
    statement = (  # made of constants, every value is bound
        "SELECT time_ms, partition_id, seq, rows, schema_id, origin_id, elapsed_ns, size,"  # noqa: S608
        " (SELECT name FROM partitions WHERE id = partition_id), file_offset, batch"
        f" FROM tail WHERE {' AND '.join(conditions)}"
        f" ORDER BY time_ms {way}, partition_id {way}, seq {way} LIMIT ?"
    )
    # A stored row holds at least one log row; the one beyond the limit tells that more follow.
    values.append(query.limit + 1)
    return statement, values


def _rows_of(batch: pa.RecordBatch, order: LogOrder, given: int, count: int) -> pa.RecordBatch:
    """Return ``count`` rows after the first ``given`` ones, both counted in the asked order."""
    if order is LogOrder.ASCENDING:
        return batch.slice(given, count)
    return reverse_rows(batch.slice(batch.num_rows - given - count, count))
