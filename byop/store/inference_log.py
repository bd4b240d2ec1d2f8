"""The inference log in one SQLite file in WAL mode, apart from the metadata."""

import asyncio
from pathlib import Path

from byop.domain.inferences import InferenceRecord
from byop.ports.inference_log import LogPage, LogPosition, LogQuery
from byop.settings import Durability
from byop.store.log_batches import batch_folder
from byop.store.log_database import open_for_writing, read_cursor_key
from byop.store.log_reader import LogReader
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
    """

    def __init__(
        self,
        path: Path,
        *,
        durability: Durability = "process",
        page_bytes: int = PAGE_BYTES,
        queue_limit: int = 4096,
        busy_timeout_s: float = 5.0,
    ) -> None:
        connection = open_for_writing(path, durability, busy_timeout_s=busy_timeout_s)
        self._schemas = LogSchemas()
        self._reader = LogReader(
            path, cursor_key=read_cursor_key(connection), page_bytes=page_bytes
        )
        self._writer = LogWriter(
            connection,
            batch_folder=batch_folder(path),
            is_power_safe=durability == "power",
            queue_limit=queue_limit,
        )

    @property
    def partition(self) -> str:
        """Name under which this process appends; every opened log has its own."""
        return self._writer.partition

    async def append(self, topic: str, record: InferenceRecord) -> LogPosition:
        """Hand the record to the writer and wait for its commit."""
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

    def close(self) -> None:
        """Commit what waits and close the file."""
        self._writer.close()
        self._reader.close()
