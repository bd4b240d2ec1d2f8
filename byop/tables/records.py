"""pandas-records JSON <-> one batch.

A body is a list of records, ``[{"text": "a"}, {"text": "b"}]``, or one object of columns,
``{"text": ["a", "b"]}``. A record that holds lists in scalar columns stands for several rows, as
in seed 004: ``[{"text": ["a", "b"]}]``. How each type looks in JSON is said in
``byop.tables.values`` (in) and ``byop.tables.fragments`` (out).
"""

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

import orjson
import pyarrow as pa

from byop.errors import (
    ColumnLengthMismatchError,
    ColumnTypeMismatchError,
    InvalidPayloadError,
)
from byop.tables.columns import require_names, require_no_nulls
from byop.tables.fragments import Piece, fragments, join_rows
from byop.tables.ndarrays import LISTS
from byop.tables.schemas import MAX_COLUMNS, format_type, require_serializable
from byop.tables.values import build_array


def decode_records(
    body: bytes, schema: pa.Schema | None, *, max_columns: int = MAX_COLUMNS
) -> pa.RecordBatch:
    """Return the rows of a JSON body in the schema's types and order; None infers the types.

    Integers stay exact, and fit a float column; every column of the schema must be there, in
    every record, and no other. Inferred floats are float64, inferred integers int64 or uint64.
    Values nest as deep as their types, which is 64 levels at most. Of a key that a record says
    twice the last counts: to look for one costs as much as to read the body.

    Raises:
        InvalidPayloadError: No JSON (NaN and trailing bytes are none), no records, or too many
            inferred columns.
        InvalidSchemaError: Inferred types nest too deep.
        ColumnMissingError, ColumnUnexpectedError: Other columns than the schema's.
        ColumnTypeMismatchError, ColumnLengthMismatchError: Values that do not fit.
    """
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidPayloadError(f"not valid JSON: {error}") from error
    if schema is None:
        _require_few_columns(parsed, max_columns)
    if isinstance(parsed, list):
        return _from_records(parsed, schema, lambda: _holds_booleans(body))
    if isinstance(parsed, dict):
        return _from_columns(parsed, schema, lambda: _holds_booleans(body))
    raise InvalidPayloadError(f"JSON must be a list of records, got {type(parsed).__name__}")


def _require_few_columns(parsed: object, max_columns: int) -> None:
    first = parsed[0] if isinstance(parsed, list) and parsed else parsed
    if isinstance(first, dict) and len(first) > max_columns:
        raise InvalidPayloadError(f"{len(first)} columns are more than {max_columns}")


def _holds_booleans(body: bytes) -> bool:
    """Whether the literals are in the text; a body without the letter is told apart quickly."""
    return (b"u" in body and b"true" in body) or (b"f" in body and b"false" in body)


def encode_records(batch: pa.RecordBatch) -> bytes:
    """Return the batch as a JSON list of records."""
    pieces: list[Piece] = [b"{"]
    last = batch.num_columns - 1
    for position, name in enumerate(batch.schema.names):
        found = fragments(batch.column(position), comma=position < last)
        pieces += [orjson.dumps(name) + b":" + found.before, found.texts, found.after]
    return join_rows([*pieces, b"}"], batch.num_rows)


def _from_records(
    records: list[Any], schema: pa.Schema | None, may_hold_booleans: Callable[[], bool]
) -> pa.RecordBatch:
    if schema is None:
        if not records:
            return pa.RecordBatch.from_arrays([], names=[])
        return _infer(_transpose(records, list(_record(records[0]))))
    columns = _transpose(records, schema.names)
    try:
        return _build(columns, schema, may_hold_booleans)
    except ColumnTypeMismatchError:
        expanded = _expand(columns, schema)
        if expanded is None:
            raise
    return _build(expanded, schema, may_hold_booleans)


def _transpose(records: list[Any], names: Sequence[str]) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {}
    try:
        for name in names:
            columns[name] = list(map(itemgetter(name), records))
        is_whole = set(map(len, records)) <= {len(names)}
    except (KeyError, TypeError, IndexError):
        is_whole = False
    if not is_whole:
        for record in records:
            require_names(_record(record), names)
    return columns


def _record(record: object) -> dict[str, Any]:
    if not isinstance(record, dict):
        raise InvalidPayloadError(f"a record must be an object, got {type(record).__name__}")
    return record


def _from_columns(
    columns: dict[str, Any], schema: pa.Schema | None, may_hold_booleans: Callable[[], bool]
) -> pa.RecordBatch:
    names = list(columns) if schema is None else schema.names
    require_names(columns, names)
    for name in names:
        if not isinstance(columns[name], list):
            got = type(columns[name]).__name__
            raise ColumnTypeMismatchError(name, "a list with a value for every row", got)
    _require_equal_lengths(columns, names)
    return _infer(columns) if schema is None else _build(columns, schema, may_hold_booleans)


def _require_equal_lengths(columns: Mapping[str, list[Any]], names: Sequence[str]) -> None:
    for name in names:
        if len(columns[name]) != len(columns[names[0]]):
            raise ColumnLengthMismatchError(name, len(columns[names[0]]), len(columns[name]))


def _build(
    columns: Mapping[str, list[Any]], schema: pa.Schema, may_hold_booleans: Callable[[], bool]
) -> pa.RecordBatch:
    arrays: list[pa.Array] = []
    for field in schema:
        values = columns[field.name]
        column = build_array(field.name, values, field.type, may_hold_booleans=may_hold_booleans)
        require_no_nulls(column, field)
        arrays.append(column)
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _expand(columns: Mapping[str, list[Any]], schema: pa.Schema) -> dict[str, list[Any]] | None:
    """Return the columns with every record that holds lists in scalar columns as several rows."""
    scalars = [field.name for field in schema if not isinstance(field.type, LISTS)]
    if not any(isinstance(value, list) for name in scalars for value in columns[name]):
        return None
    expanded: dict[str, list[Any]] = {name: [] for name in schema.names}
    for row in range(len(columns[schema.names[0]])):
        record = {name: columns[name][row] for name in schema.names}
        if not any(isinstance(record[name], list) for name in scalars):
            record = {name: [value] for name, value in record.items()}
        for name, value in record.items():
            if not isinstance(value, list):
                expected = f"a list of {format_type(schema.field(name).type)}"
                raise ColumnTypeMismatchError(name, expected, type(value).__name__)
        _require_equal_lengths(record, schema.names)
        for name, value in record.items():
            expanded[name] += value
    return expanded


def _infer(columns: Mapping[str, list[Any]]) -> pa.RecordBatch:
    arrays = [_infer_column(name, values) for name, values in columns.items()]
    batch = pa.RecordBatch.from_arrays(arrays, names=list(columns))
    require_serializable(batch.schema)
    return batch


def _infer_column(name: str, values: list[Any]) -> pa.Array:
    try:
        return pa.array(values)
    except OverflowError:
        return build_array(name, values, pa.uint64())
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise ColumnTypeMismatchError(name, "values of one type", str(error)) from error
