"""The inference log in one SQLite file in WAL mode, apart from the metadata."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from byop.domain.inferences import InferenceRecord
from byop.ports.inference_log import FollowedPage, LogPage, LogPosition, LogQuery, LogScan
from byop.settings import Durability
from byop.store.free_space import FreeSpaceFloor
from byop.store.log_batches import batch_folder
from byop.store.log_database import open_for_writing, read_cursor_key
from byop.store.log_reader import LogReader
from byop.store.log_roller import RollPolicy
from byop.store.log_rolling import BackgroundRolling
from byop.store.log_rows import LogSchemas, Origin
from byop.store.log_writer import Append, LogWriter

PAGE_BYTES = 100_000_000


class SqliteInferenceLog:
    """The port ``InferenceLog``.

    Arrow metadata of schemas is not kept, and a record without rows leaves no trace. Partitions
    are ordered by their first append. A page with more than ``page_bytes`` of stored rows ends
    early (ByteLimited), but has one stored row at least.

    Args:
        path: The database file, made when it is missing; its folder must be there.
        durability: ``process`` (the file is consistent, and complete unless the machine dies) or
            ``power`` (every commit is flushed to the disk first).
        page_bytes: Where a page ends early.
        queue_limit: Appends that may wait.
        busy_timeout_s: How long an append waits for another process that writes to the file.
        min_free_bytes: With less free disk than this appends are refused (StorageFullError).
        rolling: When rows are rolled into segments in the background; None leaves that to others.
    """

    def __init__(
        self,
        path: Path,
        *,
        durability: Durability = "process",
        page_bytes: int = PAGE_BYTES,
        queue_limit: int = 4096,
        busy_timeout_s: float = 5.0,
        min_free_bytes: int = 0,
        rolling: RollPolicy | None = None,
    ) -> None:
        connection = open_for_writing(path, durability, busy_timeout_s=busy_timeout_s)
        self._schemas = LogSchemas()
        self._space = FreeSpaceFloor(path.parent, min_free_bytes)
        self._rolling = None if rolling is None else BackgroundRolling(path, rolling)
        self._reader = LogReader(
            path, cursor_key=read_cursor_key(connection), page_bytes=page_bytes
        )
        self._writer = LogWriter(
            connection,
            batch_folder=batch_folder(path),
            is_power_safe=durability == "power",
            queue_limit=queue_limit,
            committed=None if self._rolling is None else self._rolling.note,
        )

    @property
    def partition(self) -> str:
        """Name under which this process appends; every opened log has its own."""
        return self._writer.partition

    async def append(self, topic: str, record: InferenceRecord) -> LogPosition:
        """Hand the record to the writer and wait for its commit."""
        self._space.check()
        schema = self._schemas.of(topic, record)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[LogPosition] = loop.create_future()
        self._writer.submit(
            Append(
                topic=topic,
                time_ms=record.time_ms,
                schema=schema,
                batch=schema.pack(record),
                origin=Origin.of(record.metadata),
                elapsed_ns=",".join(map(str, record.metadata.elapsed_ns)),
                loop=loop,
                future=future,
            )
        )
        return await future

    def read(self, query: LogQuery) -> LogPage:
        """Read over a connection of the calling thread's own."""
        return self._reader.read(query)

    def follow(
        self, topic: str, *, watermark: str | None = None, limit: int = 1000
    ) -> FollowedPage:
        """Read over a connection of the calling thread's own."""
        return self._reader.follow(topic, watermark, limit)

    def scan(self, scan: LogScan) -> Iterator[pa.RecordBatch]:
        """Read over a connection of the scan's own; rows in segments come first."""
        return self._reader.scan(scan)

    def close(self) -> None:
        """Commit what waits and close the file; a roll that runs ends at its next step."""
        self._writer.close()
        if self._rolling is not None:
            self._rolling.close()
        self._reader.close()
