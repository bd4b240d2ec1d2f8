"""The inference log: append-only, one topic per pipeline."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import pyarrow as pa

from byop.domain.inferences import InferenceRecord


@dataclass(frozen=True, slots=True)
class LogPosition:
    """Where a row lies: the partition that wrote it and its row number there, from 0."""

    partition: str
    sequence: int


class LogOrder(StrEnum):
    """Order of a page, by (time, partition, sequence)."""

    ASCENDING = "Asc"
    DESCENDING = "Desc"


class PageStatus(StrEnum):
    """Why a page ended where it did (seed 001, "Pipeline Log Management")."""

    ALL = "All"
    SCHEMA_CHANGE = "SchemaChange"
    RECORD_LIMITED = "RecordLimited"
    BYTE_LIMITED = "ByteLimited"


@dataclass(frozen=True, slots=True)
class LogQuery:
    """Which rows of a topic. ``start_ms`` is included, ``end_ms`` is not; None means open."""

    topic: str
    order: LogOrder = LogOrder.DESCENDING
    limit: int = 1000
    cursor: str | None = None
    start_ms: int | None = None
    end_ms: int | None = None


@dataclass(frozen=True, slots=True)
class LogScan:
    """Which rows of a topic, all of them. Times as in LogQuery.

    ``columns`` are names of the flat layout (see ``InferenceLog.scan``); None means all.
    """

    topic: str
    start_ms: int | None = None
    end_ms: int | None = None
    columns: Sequence[str] | None = None


@dataclass(frozen=True, slots=True)
class MissingRows:
    """Rows that were acknowledged and can no longer be read, and why."""

    rows: int
    reason: str


@dataclass(frozen=True, slots=True)
class LogPage:
    """Rows in the asked order, as records whose rows are in that order too.

    ``cursor`` is opaque and there exactly when ``status`` is not All. All rows of a page have the
    same columns: where they change, the page ends with SchemaChange. The rows of one request may
    come as several records. ``missing`` tells what would have been in this page and cannot be
    read; the page goes on behind it.
    """

    records: Sequence[InferenceRecord]
    status: PageStatus
    cursor: str | None
    missing: Sequence[MissingRows] = ()


@dataclass(frozen=True, slots=True)
class FollowedPage:
    """Rows that a follower has not seen yet, as records whose rows ascend in sequence.

    ``positions`` tells where the first row of each record lies. ``has_more`` means that the next
    call would return rows at once. All rows of a page have the same columns.
    """

    records: Sequence[InferenceRecord]
    positions: Sequence[LogPosition]
    watermark: str
    has_more: bool
    missing: Sequence[MissingRows] = ()


class InferenceLog(Protocol):
    """Append and read. What ``append`` acknowledged survives the death of the process."""

    @property
    def partition(self) -> str:
        """Name of the partition that this writer appends to; no two writers share one."""

    async def append(self, topic: str, record: InferenceRecord) -> LogPosition:
        """Write the record's rows as one unit and return where the first row lies.

        Returns after the commit: a reader that asks next sees the rows, and never a part of them.
        Appends of one caller keep their order.

        Raises:
            StorageFullError: Nothing was written: no space is left, or less than the floor.
            StorageUnavailableError: Nothing was written, or the queue of waiting appends is full.
        """

    def read(self, query: LogQuery) -> LogPage:
        """Return a page. Blocking: call it from a thread.

        Pages are ordered by time, and a row is committed after its time: a reader that pages in
        ascending order up to the newest row and goes on later misses what was committed late
        with an older time. To see every row exactly once, ``follow``.

        Raises:
            InvalidPayloadError: The cursor is not one of this log, or belongs to another query.
        """

    def follow(
        self, topic: str, *, watermark: str | None = None, limit: int = 1000
    ) -> FollowedPage:
        """Return rows behind ``watermark`` (None: from the oldest on) and the next watermark.

        Rows are ordered by (partition, sequence), in the order of commits inside a partition,
        whatever their times. A follower that keeps each returned watermark together with what it
        made of the page sees every row exactly once, over restarts of it and of every writer,
        and also rows that were committed late. Rows that retention removed before they were
        followed are skipped. A watermark is opaque and good for its topic and log. Blocking.

        Raises:
            InvalidPayloadError: The watermark was changed, or is of another topic or log.
        """

    def scan(self, scan: LogScan) -> Iterator[pa.RecordBatch]:
        """Yield every row in the window once, as flat batches, as of the first batch.

        Columns: ``time`` (timestamp, ms, UTC), ``partition``, ``sequence``, ``record`` (sequence
        of the first row of the request, or of its part when it was large), ``in.*``, ``out.*``,
        ``anomaly.*``, ``metadata.last_model``, ``metadata.pipeline_version``,
        ``metadata.partition``, ``metadata.elapsed_ns``, ``metadata.dropped``. Inside a batch rows
        ascend by (time, partition, sequence); batches may overlap, and their schemas differ where
        columns change. A named column that a batch does not have is left out of it.
        Blocking; use it up or close it soon: it holds what the log would remove meanwhile.

        Raises:
            StorageUnavailableError: Rows in the window cannot be read any more.
        """

    def close(self) -> None:
        """Commit what waits, then release the database. Blocking."""
