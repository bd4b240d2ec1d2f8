"""The flat layout of log rows, in which they are rolled and scanned: one column per fact.

``time, partition, sequence, record``, then the record's columns ``in.*, out.*, anomaly.*``, then
``metadata.*``. What repeats is a dictionary: it costs next to nothing in Parquet.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from byop.store.log_rows import LogSchema, Origin

_TEXT = pa.dictionary(pa.int32(), pa.string())
PLACE_FIELDS: Final = (
    pa.field("time", pa.timestamp("ms", "UTC"), nullable=False),
    pa.field("partition", _TEXT, nullable=False),
    pa.field("sequence", pa.int64(), nullable=False),
    pa.field("record", pa.int64(), nullable=False),
)
METADATA_FIELDS: Final = (
    pa.field("metadata.last_model", _TEXT, nullable=False),
    pa.field("metadata.pipeline_version", _TEXT, nullable=False),
    pa.field("metadata.partition", _TEXT, nullable=False),
    pa.field("metadata.elapsed_ns", pa.list_(pa.int64()), nullable=False),
    pa.field("metadata.dropped", pa.list_(pa.string()), nullable=False),
)


class StoredFacts(NamedTuple):
    """What a row of ``tail`` says of the ``rows`` log rows from ``seq`` on, beside their values."""

    time_ms: int
    partition_id: int
    seq: int
    rows: int
    origin: Origin
    elapsed_ns: str


class StoredColumns(NamedTuple):
    """The same of several rows: one sequence per fact."""

    time_ms: Sequence[int]
    partition_id: Sequence[int]
    seq: Sequence[int]
    rows: Sequence[int]
    origin: Sequence[Origin]
    elapsed_ns: Sequence[str]

    @staticmethod
    def of(facts: Sequence[StoredFacts]) -> "StoredColumns":
        """Return the facts of rows by column."""
        return StoredColumns(*zip(*facts, strict=True))


class FlatRows(NamedTuple):
    """Rows in the flat layout, and the key of each beside them."""

    table: pa.Table
    time_ms: np.ndarray
    partition_id: np.ndarray
    seq: np.ndarray


def flat_schema(schema: LogSchema) -> pa.Schema:
    """Return the columns of the flat layout."""
    return pa.schema([*PLACE_FIELDS, *schema.schema, *METADATA_FIELDS])


def flatten(
    schema: LogSchema,
    facts: StoredColumns,
    payload: pa.Table,
    partitions: dict[int, str],
) -> FlatRows:
    """Return stored rows flat, ordered by (time, partition, sequence).

    ``payload`` has the values of all of them, one after the other.
    """
    times, ids, seqs, counts, origins, elapsed = facts
    rows = np.asarray(counts, np.int64)
    stored = np.repeat(np.arange(len(rows)), rows)
    record = np.asarray(seqs, np.int64)[stored]
    first_row = np.cumsum(rows) - rows
    keys = (
        np.asarray(times, np.int64)[stored],
        np.asarray(ids, np.int64)[stored],
        record + np.arange(len(stored)) - first_row[stored],
    )
    columns = [
        pa.array(keys[0]).cast(PLACE_FIELDS[0].type),
        _repeated([partitions[one] for one in ids], stored),
        pa.array(keys[2]),
        pa.array(record),
        *payload.combine_chunks().columns,
        *_metadata(origins, elapsed, stored),
    ]
    return _ordered(pa.Table.from_arrays(columns, schema=flat_schema(schema)), keys)


def join(parts: Sequence[FlatRows]) -> FlatRows:
    """Return the rows of all parts, which have the same columns, in the order of ``flatten``."""
    if len(parts) == 1:
        return parts[0]
    tables, times, ids, seqs = zip(*parts, strict=True)
    keys = (np.concatenate(times), np.concatenate(ids), np.concatenate(seqs))
    return _ordered(pa.concat_tables(tables).combine_chunks(), keys)


def _ordered(table: pa.Table, keys: tuple[np.ndarray, np.ndarray, np.ndarray]) -> FlatRows:
    order = np.lexsort(keys[::-1])
    if np.array_equal(order, np.arange(len(order))):
        return FlatRows(table, *keys)
    times, ids, seqs = (key[order] for key in keys)
    return FlatRows(take(table, order), times, ids, seqs)


def take(table: pa.Table, order: np.ndarray) -> pa.Table:
    """Return the rows at ``order``."""
    return table.combine_chunks().take(pa.array(order))


def _repeated(texts: Sequence[str], stored: np.ndarray) -> pa.DictionaryArray:
    """Return one text per log row, as a dictionary, from one per stored row."""
    encoded = pa.array(texts, pa.string()).dictionary_encode()
    numbers = np.asarray(encoded.indices)
    return pa.DictionaryArray.from_arrays(pa.array(numbers[stored]), encoded.dictionary)


def _metadata(
    origins: Sequence[Origin], elapsed: Sequence[str], stored: np.ndarray
) -> list[pa.Array]:
    at = pa.array(stored)
    dropped = pa.array([origin.dropped for origin in origins], METADATA_FIELDS[4].type)
    return [
        _repeated([origin.last_model for origin in origins], stored),
        _repeated([origin.pipeline_version for origin in origins], stored),
        _repeated([origin.partition for origin in origins], stored),
        _parse_elapsed(elapsed).take(at),
        dropped.take(at),
    ]


def _parse_elapsed(texts: Sequence[str]) -> pa.Array:
    """Return the numbers in texts like ``21000,210000``; an empty text has none."""
    split = pc.split_pattern(pa.array(texts, pa.string()), ",")
    if "" in texts:
        split = pa.array([text.split(",") if text else [] for text in texts], split.type)
    return split.cast(METADATA_FIELDS[3].type)
