"""Logs whose rows are rolled."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
from typing_extensions import override

from byop.ports.inference_log import (
    FollowedPage,
    InferenceLog,
    LogPage,
    LogQuery,
    LogScan,
)
from byop.store.inference_log import SqliteInferenceLog
from byop.store.log_roller import LogRoller, RollPolicy

NOW_MS = 1_700_000_000_000
ALL = RollPolicy(rows=1)


def roll(path: Path, policy: RollPolicy = ALL, *, now_ms: int = NOW_MS) -> None:
    """Roll, as a process of its own would; by default every row."""
    assert LogRoller(path, policy, now_ms=lambda: now_ms).run()


class RolledLog(SqliteInferenceLog):
    """A log that has rolled everything whenever it is read."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._path = path

    @override
    def read(self, query: LogQuery) -> LogPage:
        roll(self._path)
        return super().read(query)

    @override
    def follow(
        self, topic: str, *, watermark: str | None = None, limit: int = 1000
    ) -> FollowedPage:
        roll(self._path)
        return super().follow(topic, watermark=watermark, limit=limit)

    @override
    def scan(self, scan: LogScan) -> Iterator[pa.RecordBatch]:
        roll(self._path)
        return super().scan(scan)


def follow_all(log: InferenceLog, topic: str, *, limit: int = 1000) -> Iterator[FollowedPage]:
    """Every page from the beginning on."""
    watermark = None
    while True:
        page = log.follow(topic, watermark=watermark, limit=limit)
        yield page
        if not page.has_more:
            return
        watermark = page.watermark
