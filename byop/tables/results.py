"""Inferences -> what callers read: JSON records or one Arrow batch (seeds 000 and 001).

Flat, with a separator: ``time``, ``in.<column>``, ``out.<column>``, ``anomaly.count``,
``anomaly.<validation>``, ``metadata.<field>``. Nested, without: ``time``, ``in``, ``out``,
``anomaly``, ``check_failures``, ``metadata``, each but the first and check_failures an object (in
Arrow a struct). check_failures lists the validations that found an anomaly.

``time`` is milliseconds since 1970 UTC: an integer in JSON and in nested Arrow, timestamp[ms] in
flat Arrow, each as the seeds print it. ``metadata.last_model`` is JSON text.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import orjson
import pyarrow as pa

from byop.domain.inferences import (
    InferenceMetadata,
    InferenceRecord,
    JoinedRecords,
    no_anomalies,
)
from byop.errors import TooLargeError
from byop.tables.datasets import DatasetSelection
from byop.tables.fragments import Piece, fragments, join_rows

_STRINGS = pa.list_(pa.string())
_MAX_COLUMN_BYTES = 2**31 - 1


def encode_json(records: Sequence[InferenceRecord], selection: DatasetSelection) -> bytes:
    """Return the rows of all records, in their order, as a JSON list.

    The records have the same columns.

    Raises:
        TooLargeError: A text column of all records holds more than 2 GiB.
    """
    if not records:
        return b"[]"
    members: list[_Member] = []
    for part, source in _parts(records, selection):
        if not isinstance(source, dict):
            members.append((part, source.pieces))
        elif selection.separator is None:
            members.append((part, _nested_object(source)))
        else:
            names = (f"{part}{selection.separator}{field}" for field in source)
            members += zip(names, (column.pieces for column in source.values()), strict=True)
    return join_rows(_object(members), sum(record.rows for record in records))


def to_arrow(records: Sequence[InferenceRecord], selection: DatasetSelection) -> pa.RecordBatch:
    """Return the rows of all records, in their order, as one batch.

    The records have the same columns. No records give no rows, and only the columns that every
    inference has.

    Raises:
        TooLargeError: A text column of all records holds more than 2 GiB.
    """
    columns: dict[str, pa.Array] = {}
    for part, source in _parts(records or [_nothing()], selection):
        if not isinstance(source, dict):
            columns[part] = source.array()
        elif selection.separator is not None:
            for field, column in source.items():
                columns[f"{part}{selection.separator}{field}"] = column.array()
        elif source:
            arrays = [column.array() for column in source.values()]
            columns[part] = pa.StructArray.from_arrays(arrays, names=list(source))
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))


@dataclass(frozen=True, slots=True)
class _PerRow:
    """A column with a value for every row."""

    column: pa.Array

    def pieces(self, *, comma: bool) -> list[Piece]:
        found = fragments(self.column, comma=comma)
        return [found.before, found.texts, found.after]

    def array(self) -> pa.Array:
        return self.column


@dataclass(frozen=True, slots=True)
class _PerRecord:
    """A column whose value is the same in all rows of a record."""

    kind: pa.DataType
    values: Sequence[Any]
    counts: Sequence[int]

    def pieces(self, *, comma: bool) -> list[Piece]:
        end = b"," if comma else b""
        written = [orjson.dumps(value) + end for value in self.values]
        if len(written) == 1:
            return [written[0]]
        return [[text for text, n in zip(written, self.counts, strict=True) for _ in range(n)]]

    def array(self) -> pa.Array:
        distinct = pa.array(self.values, self.kind)
        if self.counts == [1]:
            return distinct
        return distinct.take(pa.array(np.repeat(np.arange(len(self.values)), self.counts)))


_Column = _PerRow | _PerRecord
_Source = _Column | dict[str, _Column]
_Member = tuple[str, Callable[..., list[Piece]]]


def _object(members: Sequence[_Member]) -> list[Piece]:
    pieces: list[Piece] = [b"{"]
    last = len(members) - 1
    for position, (name, write) in enumerate(members):
        pieces.append(orjson.dumps(name) + b":")
        pieces += write(comma=position < last)
    pieces.append(b"}")
    return pieces


def _nested_object(fields: Mapping[str, _Column]) -> Callable[..., list[Piece]]:
    def write(*, comma: bool) -> list[Piece]:
        members = [(field, column.pieces) for field, column in fields.items()]
        return [*_object(members), b"," if comma else b""]

    return write


def _parts(
    records: Sequence[InferenceRecord], selection: DatasetSelection
) -> Iterator[tuple[str, _Source]]:
    """Yield the selected parts in the order of ``PARTS``: one column, or columns by field."""
    rows = _columns(records)
    if selection.has("time"):
        kind = pa.timestamp("ms") if selection.separator else pa.int64()
        yield "time", _PerRecord(kind, rows.times_ms, rows.counts)
    yield from _batch_part("in", rows.inputs, selection)
    yield from _batch_part("out", rows.outputs, selection)
    yield from _batch_part("anomaly", rows.anomalies, selection)
    if selection.has("check_failures"):
        yield "check_failures", _check_failures(rows.anomalies, rows.counts)
    metadata = _metadata(rows.metadata, rows.counts, selection)
    if metadata:
        yield "metadata", metadata


class _Columns(NamedTuple):
    """Records by what they hold; the rows of a dataset lie in one batch or in several."""

    times_ms: Sequence[int]
    counts: Sequence[int]
    inputs: Sequence[pa.RecordBatch]
    outputs: Sequence[pa.RecordBatch]
    anomalies: Sequence[pa.RecordBatch]
    metadata: Sequence[InferenceMetadata]


def _columns(records: Sequence[InferenceRecord]) -> _Columns:
    if isinstance(records, JoinedRecords):
        return _Columns(
            records.times_ms,
            records.counts,
            [records.inputs],
            [records.outputs],
            [records.anomalies],
            records.metadata,
        )
    return _Columns(
        [record.time_ms for record in records],
        [record.rows for record in records],
        [record.inputs for record in records],
        [record.outputs for record in records],
        [record.anomalies for record in records],
        [record.metadata for record in records],
    )


def _batch_part(
    part: str, batches: Sequence[pa.RecordBatch], selection: DatasetSelection
) -> Iterator[tuple[str, _Source]]:
    names = batches[0].schema.names
    kept = [position for position, name in enumerate(names) if selection.has(part, name)]
    if kept:
        batch = _joined(batches)
        yield part, {names[position]: _PerRow(batch.column(position)) for position in kept}
    elif selection.has(part):
        yield part, {}


def _joined(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    if len(batches) == 1:
        return batches[0]
    joined = pa.Table.from_batches(batches).combine_chunks().to_batches()
    if len(joined) > 1:
        raise TooLargeError("a column of the answer", _MAX_COLUMN_BYTES)
    return joined[0] if joined else batches[0]


def _check_failures(anomalies: Sequence[pa.RecordBatch], counts: Sequence[int]) -> _Column:
    validations = [f.name for f in anomalies[0].schema if pa.types.is_boolean(f.type)]
    if not validations:
        return _PerRecord(_STRINGS, [()] * len(counts), counts)
    found = _joined(anomalies).select(validations)
    failed = [[name for name, fails in row.items() if fails] for row in found.to_pylist()]
    return _PerRow(pa.array(failed, _STRINGS))


@dataclass(frozen=True, slots=True)
class _MetadataField:
    """One field of the ``metadata`` dataset: its Arrow type and where it comes from."""

    kind: pa.DataType
    read: Callable[[InferenceMetadata], Any]


_METADATA: Mapping[str, _MetadataField] = {
    "last_model": _MetadataField(pa.string(), lambda m: m.last_model),
    "pipeline_version": _MetadataField(pa.string(), lambda m: m.pipeline_version),
    "elapsed": _MetadataField(pa.list_(pa.uint64()), lambda m: m.elapsed_ns),
    "dropped": _MetadataField(_STRINGS, lambda m: m.dropped),
    "partition": _MetadataField(pa.string(), lambda m: m.partition),
}


def _metadata(
    records: Sequence[InferenceMetadata], counts: Sequence[int], selection: DatasetSelection
) -> dict[str, _Column]:
    return {
        name: _PerRecord(field.kind, [field.read(record) for record in records], counts)
        for name, field in _METADATA.items()
        if selection.has("metadata", name)
    }


def _nothing() -> InferenceRecord:
    empty = pa.RecordBatch.from_arrays([], names=[])
    metadata = InferenceMetadata(last_model="", pipeline_version="", elapsed_ns=())
    return InferenceRecord(0, empty, empty, no_anomalies(0), metadata)
