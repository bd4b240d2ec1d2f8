"""The inference log: append-only, one topic per pipeline."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

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
class LogPage:
    """Rows in the asked order, as records whose rows are in that order too.

    ``cursor`` is opaque and there exactly when ``status`` is not All. All rows of a page have the
    same columns: where they change, the page ends with SchemaChange.
    """

    records: Sequence[InferenceRecord]
    status: PageStatus
    cursor: str | None


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
            StorageUnavailableError: Nothing was written, or the queue of waiting appends is full.
        """

    def read(self, query: LogQuery) -> LogPage:
        """Return a page. Blocking: call it from a thread.

        Raises:
            InvalidPayloadError: The cursor is not one of this log, or belongs to another query.
        """

    def close(self) -> None:
        """Commit what waits, then release the database. Blocking."""
