"""Stores in memory."""

import json
import zlib
from collections import defaultdict
from collections.abc import Iterator

import pyarrow as pa

from byop.domain.inferences import InferenceRecord
from byop.errors import InvalidPayloadError, StorageUnavailableError
from byop.ports.inference_log import (
    FollowedPage,
    LogOrder,
    LogPage,
    LogPosition,
    LogQuery,
    LogScan,
    PageStatus,
)
from byop.store.log_flat import StoredColumns, StoredFacts, flatten
from byop.store.log_rows import LogSchema, Origin

_Key = tuple[int, int]
"""Time and sequence of a row: its place in the order."""


class MemoryInferenceLog:
    """The port ``InferenceLog`` in memory, one partition. ``refuses`` plays a full disk."""

    partition = "memory"

    def __init__(self) -> None:
        self.refuses = False
        self._records: dict[str, list[tuple[int, InferenceRecord]]] = defaultdict(list)
        self._is_open = True

    async def append(self, topic: str, record: InferenceRecord) -> LogPosition:
        if self.refuses or not self._is_open:
            raise StorageUnavailableError("the memory log refuses")
        kept = self._records[topic]
        sequence = kept[-1][0] + kept[-1][1].rows if kept else 0
        kept.append((sequence, record))
        return LogPosition(self.partition, sequence)

    def read(self, query: LogQuery) -> LogPage:
        if not self._is_open:
            raise StorageUnavailableError("the memory log is closed")
        if query.limit < 1:
            raise InvalidPayloadError("the limit is below 1")
        after = None if query.cursor is None else _decode(query, query.cursor)
        chosen: list[tuple[InferenceRecord, list[int]]] = []
        last: _Key = (0, 0)
        for given, (key, record, row) in enumerate(self._rows(query, after)):
            status = None
            if given == query.limit:
                status = PageStatus.RECORD_LIMITED
            elif chosen and not _have_same_columns(chosen[0][0], record):
                status = PageStatus.SCHEMA_CHANGE
            if status is not None:
                return LogPage(_pick(chosen), status, _encode(query, last))
            if not chosen or chosen[-1][0] is not record:
                chosen.append((record, []))
            chosen[-1][1].append(row)
            last = key
        return LogPage(_pick(chosen), PageStatus.ALL, None)

    def follow(
        self, topic: str, *, watermark: str | None = None, limit: int = 1000
    ) -> FollowedPage:
        if limit < 1:
            raise InvalidPayloadError("the limit is below 1")
        given = 0 if watermark is None else _decode_watermark(topic, watermark)
        records: list[InferenceRecord] = []
        positions: list[LogPosition] = []
        left, has_more = limit, False
        for sequence, record in self._records[topic]:
            start = max(0, given - sequence)
            if start >= record.rows:
                continue
            if left == 0 or (records and not _have_same_columns(records[0], record)):
                has_more = True
                break
            part = record.slice(start, min(left, record.rows - start))
            records.append(part)
            positions.append(LogPosition(self.partition, sequence + start))
            left -= part.rows
            given = sequence + start + part.rows
            has_more = given < sequence + record.rows
        return FollowedPage(records, positions, _encode_watermark(topic, given), has_more)

    def scan(self, scan: LogScan) -> Iterator[pa.RecordBatch]:
        window = LogQuery(scan.topic, start_ms=scan.start_ms, end_ms=scan.end_ms)
        for sequence, record in self._records[scan.topic]:
            if record.rows and _is_inside(window, record.time_ms):
                schema = LogSchema.of(record)
                facts = StoredFacts(
                    time_ms=record.time_ms,
                    partition_id=0,
                    seq=sequence,
                    rows=record.rows,
                    origin=Origin.of(record.metadata),
                    elapsed_ns=",".join(map(str, record.metadata.elapsed_ns)),
                )
                payload = pa.Table.from_batches([schema.pack(record)])
                table = flatten(
                    schema, StoredColumns.of([facts]), payload, {0: self.partition}
                ).table
                wanted = table.column_names if scan.columns is None else scan.columns
                yield from table.select([n for n in table.column_names if n in wanted]).to_batches()

    def close(self) -> None:
        self._is_open = False

    def _rows(
        self, query: LogQuery, after: _Key | None
    ) -> Iterator[tuple[_Key, InferenceRecord, int]]:
        is_descending = query.order is LogOrder.DESCENDING
        rows = [
            ((record.time_ms, sequence + row), record, row)
            for sequence, record in self._records[query.topic]
            for row in range(record.rows)
            if _is_inside(query, record.time_ms)
        ]
        for key, record, row in sorted(rows, key=lambda one: one[0], reverse=is_descending):
            if after is None or (key < after if is_descending else key > after):
                yield key, record, row


def _is_inside(query: LogQuery, time_ms: int) -> bool:
    return (query.start_ms is None or time_ms >= query.start_ms) and (
        query.end_ms is None or time_ms < query.end_ms
    )


def _have_same_columns(one: InferenceRecord, other: InferenceRecord) -> bool:
    return bool(
        one.inputs.schema.equals(other.inputs.schema)
        and one.outputs.schema.equals(other.outputs.schema)
        and one.anomalies.schema.equals(other.anomalies.schema)
    )


def _pick(chosen: list[tuple[InferenceRecord, list[int]]]) -> list[InferenceRecord]:
    picked = []
    for record, rows in chosen:
        indices = pa.array(rows, pa.int64())
        picked.append(
            InferenceRecord(
                time_ms=record.time_ms,
                inputs=record.inputs.take(indices),
                outputs=record.outputs.take(indices),
                anomalies=record.anomalies.take(indices),
                metadata=record.metadata,
            )
        )
    return picked


def _encode(query: LogQuery, last: _Key) -> str:
    window = [query.topic, query.order.value, query.start_ms, query.end_ms]
    text = json.dumps([window, *last])
    return f"{zlib.crc32(text.encode())}.{text}"


def _decode(query: LogQuery, cursor: str) -> _Key:
    check, _, text = cursor.partition(".")
    if check != str(zlib.crc32(text.encode())):
        raise InvalidPayloadError("the cursor was changed")
    window, time_ms, sequence = json.loads(text)
    if window != [query.topic, query.order.value, query.start_ms, query.end_ms]:
        raise InvalidPayloadError("the cursor belongs to another query")
    return time_ms, sequence


def _encode_watermark(topic: str, given: int) -> str:
    text = json.dumps([topic, given])
    return f"{zlib.crc32(text.encode())}.{text}"


def _decode_watermark(topic: str, watermark: str) -> int:
    check, _, text = watermark.partition(".")
    if check != str(zlib.crc32(text.encode("utf-8", "replace"))) or json.loads(text)[0] != topic:
        raise InvalidPayloadError("the watermark was changed, or is of another topic")
    return int(json.loads(text)[1])
