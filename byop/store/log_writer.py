"""The one thread that writes the inference log: everything that waits goes into one commit."""

import asyncio
import contextlib
import queue
import sqlite3
import threading
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import structlog
from typing_extensions import Buffer

from byop.errors import StorageFullError, StorageUnavailableError, storage_error
from byop.ports.inference_log import LogPosition
from byop.store.log_batches import BatchFile
from byop.store.log_catalog import LogCatalog
from byop.store.log_rows import LogSchema, Origin, encode_parts

_GROUP_LIMIT = 1024
_INSERT_LIMIT = 64
_INSERT_BYTES = 16 << 20
_COLUMNS = (
    "topic_id, partition_id, seq, time_ms, rows, schema_id, origin_id, elapsed_ns,"
    " size, file_offset, batch"
)
_PLACES = f"({', '.join('?' * len(_COLUMNS.split(',')))})"
_LARGE_BYTES = 16 << 10
"""From here on a batch goes to the batch file."""
_IS_LOCKED = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}

_FAILURES = (sqlite3.Error, OSError, pa.ArrowException, MemoryError, OverflowError, UnicodeError)
"""What a disk, or one record that cannot be stored, may cause."""

_log = structlog.get_logger(__name__)

_Future = asyncio.Future[LogPosition]
_Result = LogPosition | StorageUnavailableError
_Value = int | str | Buffer | None


@dataclass(slots=True)
class Append:
    """One record on its way to the disk, and who waits for it."""

    topic: str
    time_ms: int
    schema: LogSchema
    batch: pa.RecordBatch
    origin: Origin
    elapsed_ns: str
    loop: asyncio.AbstractEventLoop
    future: _Future


class LogWriter:
    """Owns the writing connection. ``partition`` is a fresh name: no two writers share one."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        *,
        batch_folder: Path,
        is_power_safe: bool,
        queue_limit: int,
        committed: Callable[[int, int], None] | None = None,
    ) -> None:
        self.partition = uuid.uuid4().hex
        self._connection = connection
        self._batches = BatchFile(batch_folder, self.partition)
        self._is_power_safe = is_power_safe
        self._catalog = LogCatalog(connection, self.partition)
        self._sequences: dict[str, int] = {}
        self._waiting: queue.SimpleQueue[Append | None] = queue.SimpleQueue()
        self._queue_limit = queue_limit
        self._committed = committed
        self._group_bytes = 0
        self._is_open = True
        self._submitting = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="inference-log", daemon=True)
        self._thread.start()

    def submit(self, append: Append) -> None:
        """Queue the append; its future gets the outcome.

        Raises:
            StorageUnavailableError: The writer is closed, or too many appends wait.
        """
        with self._submitting:
            if not self._is_open:
                raise StorageUnavailableError("the inference log is closed")
            if self._waiting.qsize() >= self._queue_limit:
                raise StorageUnavailableError(
                    f"{self._queue_limit} appends wait for the inference log already"
                )
            self._waiting.put(append)

    def close(self) -> None:
        """Write what waits, end the thread and close the connection. Idempotent."""
        with self._submitting:
            if self._is_open:
                self._is_open = False
                self._waiting.put(None)
        self._thread.join()
        self._batches.close()
        self._connection.close()

    def _run(self) -> None:
        group: list[Append] = []
        try:
            while self._take(group):
                self._write(group)
                group = []
        finally:
            self._refuse_rest(group)

    def _take(self, group: list[Append]) -> bool:
        """Fill ``group`` with what waits, at least one; False when the queue has ended."""
        first = self._waiting.get()
        if first is None:
            return False
        group.append(first)
        try:
            while len(group) < _GROUP_LIMIT:
                append = self._waiting.get_nowait()
                if append is None:
                    self._waiting.put(None)
                    break
                group.append(append)
        except queue.Empty:
            pass
        return True

    def _write(self, group: Sequence[Append]) -> None:
        """Commit the group; if that fails, one by one, so that only the guilty fail.

        A locked database would make each of them wait again: then all fail.
        """
        sequences, end = dict(self._sequences), self._batches.end
        try:
            positions = self._commit(group)
        except Exception as error:  # noqa: BLE001 (an edge: the thread that writes)
            # Also what nobody foresaw ends one append, not the log.
            if not isinstance(error, _FAILURES):
                _log.exception("an append to the inference log failed")
            self._roll_back(sequences, end)
            if len(group) > 1 and not _is_locked(error):
                for append in group:
                    self._write([append])
            else:
                _answer((append, _refusal(error)) for append in group)
        else:
            _answer(zip(group, positions, strict=True))
            self._after_commit(group)

    def _commit(self, group: Sequence[Append]) -> list[LogPosition]:
        self._connection.execute("BEGIN IMMEDIATE")
        positions = self._insert(group)
        if self._is_power_safe:
            self._batches.sync()
        self._connection.execute("COMMIT")
        return positions

    def _after_commit(self, group: Sequence[Append]) -> None:
        self._batches.turn_over()
        if self._committed is not None:
            self._committed(sum(append.batch.num_rows for append in group), self._group_bytes)

    def _insert(self, group: Sequence[Append]) -> list[LogPosition]:
        positions: list[LogPosition] = []
        values: list[_Value] = []
        size = count = self._group_bytes = 0
        for append in group:
            sequence = self._sequences.get(append.topic, 0)
            positions.append(LogPosition(self.partition, sequence))
            for row, row_bytes in self._rows(append, sequence):
                values += row
                count += 1
                size += row_bytes
                if count == _INSERT_LIMIT or size >= _INSERT_BYTES:
                    self._insert_rows(values, count)
                    values = []
                    size = count = 0
            self._sequences[append.topic] = sequence + append.batch.num_rows
        self._insert_rows(values, count)
        return positions

    def _rows(self, append: Append, sequence: int) -> Iterator[tuple[tuple[_Value, ...], int]]:
        """Yield the values of each part of the record, as in _COLUMNS, and the blob's size."""
        if append.batch.num_rows == 0:
            return
        topic_id = self._catalog.topic_id(append.topic)
        partition_id = self._catalog.partition_id()
        schema_id = self._catalog.schema_id(append.schema)
        origin_id = self._catalog.origin_id(append.origin)
        for rows, blob in encode_parts(append.schema, append.batch):
            place = (topic_id, partition_id, sequence, append.time_ms, rows)
            facts = (*place, schema_id, origin_id, append.elapsed_ns, blob.size)
            self._group_bytes += blob.size
            if blob.size < _LARGE_BYTES:
                yield (*facts, None, blob), blob.size
            else:
                yield (*facts, self._batches.append(blob), None), 0
            sequence += rows

    def _insert_rows(self, values: list[_Value], count: int) -> None:
        """Insert in few statements: with each one the thread must win the GIL back."""
        width = len(values) // count if count else 0
        start = 0
        while count:
            step = 1 << (count.bit_length() - 1)
            places = ", ".join([_PLACES] * step)
            stop = start + step * width
            self._connection.execute(
                f"INSERT INTO tail ({_COLUMNS}) VALUES {places}",  # noqa: S608 (constants)
                values[start:stop],
            )
            start = stop
            count -= step

    def _roll_back(self, sequences: dict[str, int], end: int) -> None:
        self._sequences = sequences
        self._catalog.forget()
        with contextlib.suppress(OSError):
            self._batches.cut(end)
        if self._connection.in_transaction:
            # A rollback that fails leaves the transaction open: BEGIN then refuses the next group.
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")

    def _refuse_rest(self, group: Sequence[Append]) -> None:
        """Leave nobody waiting for a thread that ended."""
        with self._submitting:
            self._is_open = False
        rest = list(group)
        while not self._waiting.empty():
            append = self._waiting.get()
            if append is not None:
                rest.append(append)
        ended = "the writer of the inference log ended"
        _answer((append, StorageUnavailableError(ended)) for append in rest)


def _answer(results: Iterable[tuple[Append, _Result]]) -> None:
    """Resolve the futures with one wake-up per event loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[_Future, _Result]]] = defaultdict(list)
    for append, result in results:
        by_loop[append.loop].append((append.future, result))
    for loop, answers in by_loop.items():
        try:
            loop.call_soon_threadsafe(_resolve, answers)
        except RuntimeError:
            continue  # The loop was closed: nobody waits there any more.


def _resolve(answers: Sequence[tuple[_Future, _Result]]) -> None:
    for future, result in answers:
        if future.done():
            continue
        if isinstance(result, StorageUnavailableError):
            future.set_exception(result)
        else:
            future.set_result(result)


def _is_locked(error: Exception) -> bool:
    return getattr(error, "sqlite_errorcode", None) in _IS_LOCKED


def _refusal(error: Exception) -> StorageUnavailableError:
    if isinstance(error, OSError):
        return storage_error("the inference log refuses", error)
    is_full = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
    kind = StorageFullError if is_full else StorageUnavailableError
    return kind(f"the inference log refuses: {error}")
