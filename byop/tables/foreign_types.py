"""Arrow types from outside: which are read, and what is made of those that stand for more.

A dictionary, a view or a column of nulls may stand for far more than its bytes: a 1 MiB text in a
dictionary, named by a million indices, is 1 TiB. What they stand for is counted before they become
plain columns. Runs in workers too: standard library, numpy and pyarrow.
"""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from byop.errors import InvalidPayloadError, TooLargeError
from byop.tables.schemas import MAX_DEPTH, format_type, type_children

_VIEWS: dict[int, pa.DataType] = {
    pa.string_view().id: pa.string(),
    pa.binary_view().id: pa.binary(),
}
_TEXTS = frozenset(
    kind.id for kind in (pa.string(), pa.large_string(), pa.binary(), pa.large_binary())
)
_PLAIN = _TEXTS | {
    kind.id
    for kind in (
        *(pa.bool_(), pa.int8(), pa.int16(), pa.int32(), pa.int64()),
        *(pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()),
        *(pa.float16(), pa.float32(), pa.float64(), pa.date32(), pa.date64()),
        *(pa.time32("s"), pa.time64("us"), pa.timestamp("s"), pa.duration("s")),
        *(pa.decimal128(1), pa.decimal256(1)),
    )
}
_LISTS = frozenset(
    kind.id for kind in (pa.list_(pa.null()), pa.large_list(pa.null()), pa.list_(pa.null(), 1))
)
_STRUCT = pa.struct([]).id
_NESTED = _LISTS | {_STRUCT, pa.map_(pa.string(), pa.null()).id}
_DICTIONARY = pa.dictionary(pa.int8(), pa.null()).id


def admit_all(_size_bytes: int) -> None:
    """Take whatever the limits of one table allow."""


def stands_for_more(schema: pa.Schema, *, max_columns: int) -> bool:
    """Whether a batch of this schema must go through ``made_plain`` before it is validated.

    Raises:
        InvalidPayloadError: Too many columns, types that nest too deep, or that byop does not read.
    """
    kinds = schema.types
    if len(kinds) > max_columns:
        raise InvalidPayloadError(f"{len(kinds)} columns are more than {max_columns}")
    found = False
    for position, kind in enumerate(kinds):
        identity = kind.id
        if identity in _PLAIN or (identity in _LISTS and kind.value_type.id in _PLAIN):
            continue
        found |= _inspect(kind, schema.names[position], max_columns)
    return found


def made_plain(
    batch: pa.RecordBatch, *, max_bytes: int, admit: Callable[[int], None] = admit_all
) -> pa.RecordBatch:
    """Return the batch with dictionaries and views as the values that they stand for.

    ``admit`` is asked with their bytes before memory is taken for them, and may raise.

    Raises:
        TooLargeError: They stand for more than ``max_bytes``.
    """
    batch.validate()
    total = 0
    for column in batch.columns:
        total += _stood_for(column, max_bytes)
        if total > max_bytes:
            raise TooLargeError("what the Arrow body stands for", max_bytes)
    admit(total)
    columns = [_plain_column(column) for column in batch.columns]
    return pa.RecordBatch.from_arrays(columns, schema=plain_schema(batch.schema))


def plain_schema(schema: pa.Schema) -> pa.Schema:
    """Return the schema of the batches that ``made_plain`` makes."""
    return pa.schema([field.with_type(_plain_type(field.type)) for field in schema])


def _plain_type(kind: pa.DataType) -> pa.DataType:
    if kind.id == _DICTIONARY:
        return _plain_type(kind.value_type)
    return _VIEWS.get(kind.id, kind)


def _inspect(kind: pa.DataType, column: str, max_fields: int) -> bool:
    """Whether a type stands for more, at any depth; checks the type on the way."""
    found = False
    level, fields = [kind], 0
    for depth in range(MAX_DEPTH + 1):
        if not level:
            return found
        fields += len(level)
        if depth == MAX_DEPTH or fields > max_fields:
            raise InvalidPayloadError(
                f"the type of column {column[:80]!r} nests deeper than {MAX_DEPTH} levels"
                if depth == MAX_DEPTH
                else f"column {column[:80]!r} has more than {max_fields} fields"
            )
        below: list[pa.DataType] = []
        for one in level:
            found |= _inspect_level(one, column, is_column=depth == 0)
            below += type_children(_storage(one))
        level = below
    return found


def _inspect_level(kind: pa.DataType, column: str, *, is_column: bool) -> bool:
    kind = _storage(kind)
    if kind.id in _PLAIN:
        return False
    if isinstance(kind, pa.FixedSizeBinaryType):
        return not kind.byte_width
    if kind.id in _NESTED:
        return kind.id == _STRUCT and not kind.num_fields
    if kind.id in _VIEWS or pa.types.is_null(kind):
        return True
    if kind.id == _DICTIONARY and is_column and _is_flat(kind.value_type):
        return True
    raise InvalidPayloadError(
        f"column {column[:80]!r} holds {format_type(kind)[:200]}, which is not read here: send "
        "plain values (dictionaries of plain values may be columns of their own)"
    )


def _is_flat(kind: pa.DataType) -> bool:
    return bool(
        kind.id in _PLAIN
        or kind.id in _VIEWS
        or pa.types.is_null(kind)
        or pa.types.is_fixed_size_binary(kind)
    )


def _storage(kind: pa.DataType) -> pa.DataType:
    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind


def _stood_for(column: pa.Array, max_bytes: int) -> int:
    """Return how many bytes, or values without bytes, a column stands for."""
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        return _stood_for(column.storage, max_bytes)
    if kind.id in _VIEWS:
        return _viewed_bytes(column)
    if kind.id == _DICTIONARY:
        return _dictionary_bytes(column, max_bytes)
    return len(column) + sum(_stood_for(child, max_bytes) for child in _children(column))


def _children(column: pa.Array) -> Iterable[pa.Array]:
    kind = column.type
    if isinstance(kind, pa.StructType):
        return (column.field(position) for position in range(kind.num_fields))
    if isinstance(kind, pa.MapType):
        return column.keys, column.items
    return (column.values,) if kind.id in _LISTS else ()


def _viewed_bytes(column: pa.Array) -> int:
    """Return the length of all views: each is 16 bytes that begin with its length."""
    lengths = _numbers(column, np.dtype(np.int32), every=4)
    return int(np.abs(lengths.astype(np.int64)).sum()) + len(column)


def _dictionary_bytes(column: pa.Array, max_bytes: int) -> int:
    values = column.dictionary
    if values.type.id in _VIEWS:
        if _viewed_bytes(values) > max_bytes:
            return max_bytes + 1
        values.validate(full=True)
        values = values.cast(_VIEWS[values.type.id])
    column.validate(full=True)
    if values.type.id in _TEXTS:
        indices = column.indices
        width = indices.type.bit_width // 8
        named = _numbers(indices, np.dtype(f"u{width}"), every=1)
        return int(_text_lengths(values)[named].sum()) + len(column)
    return len(column) * max(1, 0 if pa.types.is_null(values.type) else values.type.bit_width // 8)


def _text_lengths(values: pa.Array) -> npt.NDArray[np.int64]:
    is_large = pa.types.is_large_string(values.type) or pa.types.is_large_binary(values.type)
    if not len(values):
        return np.zeros(0, np.int64)
    bounds = np.frombuffer(values.buffers()[1], np.int64 if is_large else np.int32)
    found = bounds[values.offset : values.offset + len(values) + 1].astype(np.int64)
    return found[1:] - found[:-1]


def _numbers(column: pa.Array, dtype: np.dtype[Any], *, every: int) -> npt.NDArray[Any]:
    """Return the numbers of the fixed-width buffer, one in ``every``, that are not null's."""
    present, numbers = column.buffers()[:2]
    rows = slice(column.offset, column.offset + len(column))
    if not len(column):
        return np.zeros(0, dtype)
    found = np.frombuffer(numbers, dtype)[::every][rows]
    if present is None:
        return found
    bits = np.unpackbits(np.frombuffer(present, np.uint8), bitorder="little")
    return found[bits[rows].astype(np.bool_)]


def _plain_column(column: pa.Array) -> pa.Array:
    kind = column.type
    if kind.id == _DICTIONARY:
        values = _plain_column(column.dictionary)
        return pa.DictionaryArray.from_arrays(column.indices, values).dictionary_decode()
    if kind.id in _VIEWS:
        column.validate(full=True)
        return column.cast(_VIEWS[kind.id])
    return column
