"""A batch made to fit a schema: names, order, types. Runs in workers too."""

from collections.abc import Collection, Sequence

import numpy as np
import pyarrow as pa

from byop.errors import (
    ColumnLengthMismatchError,
    ColumnMissingError,
    ColumnTypeMismatchError,
    ColumnUnexpectedError,
)
from byop.tables.schemas import format_field, format_type

_LISTS = (pa.ListType, pa.LargeListType, pa.FixedSizeListType)
_TEXTS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
_BYTES = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)


def conform(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Return the batch in the schema's order and types; the batch itself when it fits already.

    A column is cast when no value changes by it: between number types, between list types,
    between units of time, from dictionaries and nulls. Floats become integers never, and float32
    only when every value is one.

    Raises:
        ColumnMissingError, ColumnUnexpectedError: Other names than the schema's, or one twice.
        ColumnTypeMismatchError: A cast would change a value, or a null where none may be.
        ColumnLengthMismatchError: A list of another length than the schema demands.
    """
    if not batch.schema.equals(schema):
        require_names(batch.schema.names, schema.names)
        columns = [_fit(batch.column(field.name), field) for field in schema]
        return pa.RecordBatch.from_arrays(columns, schema=schema)
    for position, field in enumerate(schema):
        if not field.nullable:
            require_no_nulls(batch.column(position), field)
    return batch


def require_names(got: Collection[str], expected: Sequence[str]) -> None:
    """Check that the names are the expected ones, in any order, each once.

    Raises:
        ColumnMissingError, ColumnUnexpectedError: The first difference.
    """
    if len(got) == len(expected) and all(map(set(got).__contains__, expected)):
        return
    for name in expected:
        if name not in got:
            raise ColumnMissingError(name, got)
    seen: set[str] = set()
    for name in got:
        if name not in expected or name in seen:
            raise ColumnUnexpectedError(name, expected)
        seen.add(name)


def require_no_nulls(column: pa.Array, field: pa.Field) -> None:
    """Check a column whose field is not nullable.

    Raises:
        ColumnTypeMismatchError: There is a null.
    """
    if column.null_count and not field.nullable:
        raise ColumnTypeMismatchError(field.name, format_field(field), "null")


def _fit(column: pa.Array, field: pa.Field) -> pa.Array:
    require_no_nulls(column, field)
    if column.type.equals(field.type):
        return column
    if isinstance(column.type, pa.BaseExtensionType):
        return _fit(column.storage, field)
    if not _is_castable(column.type, field.type):
        raise _mismatch(column, field)
    try:
        cast = column.cast(field.type)
    except pa.ArrowException as error:
        _require_list_sizes(column, field.type, field.name)
        raise ColumnTypeMismatchError(
            field.name, format_field(field), f"{format_type(column.type)} ({error})"
        ) from error
    if not _is_unchanged(column, cast) or _has_forbidden_nulls(cast, field.type):
        raise _mismatch(column, field)
    return cast


def _mismatch(column: pa.Array, field: pa.Field) -> ColumnTypeMismatchError:
    return ColumnTypeMismatchError(field.name, format_field(field), format_type(column.type))


def _is_castable(source: pa.DataType, target: pa.DataType) -> bool:
    """Whether some values of ``source`` are values of ``target``, at every depth."""
    if source.equals(target) or pa.types.is_null(source):
        return True
    if isinstance(source, pa.DictionaryType):
        return _is_castable(source.value_type, target)
    if isinstance(source, _LISTS) and isinstance(target, _LISTS):
        return _is_castable(source.value_type, target.value_type)
    if isinstance(source, pa.StructType) and isinstance(target, pa.StructType):
        return [f.name for f in source] == [f.name for f in target] and all(
            _is_castable(a.type, b.type) for a, b in zip(source, target, strict=True)
        )
    if isinstance(source, pa.TimestampType) and isinstance(target, pa.TimestampType):
        return (source.tz is None) == (target.tz is None)
    return _is_castable_leaf(source, target)


def _is_castable_leaf(source: pa.DataType, target: pa.DataType) -> bool:
    if pa.types.is_integer(source):
        return bool(pa.types.is_integer(target) or pa.types.is_floating(target))
    if pa.types.is_floating(source):
        return bool(pa.types.is_floating(target))
    return any(
        any(belongs(source) for belongs in family) and any(belongs(target) for belongs in family)
        for family in (_TEXTS, _BYTES)
    )


def _is_unchanged(before: pa.Array, after: pa.Array) -> bool:
    """Whether floats that were narrowed are what they were; Arrow checks all other casts."""
    if isinstance(after.type, _LISTS) and isinstance(before.type, _LISTS):
        return _is_unchanged(before.flatten(), after.flatten())
    if isinstance(after.type, pa.StructType) and isinstance(before.type, pa.StructType):
        return all(map(_is_unchanged, before.flatten(), after.flatten()))
    if not pa.types.is_floating(before.type) or before.type.bit_width <= after.type.bit_width:
        return True
    wide = before.to_numpy(zero_copy_only=False)
    return bool(np.array_equal(wide, after.to_numpy(zero_copy_only=False), equal_nan=True))


def _has_forbidden_nulls(column: pa.Array, kind: pa.DataType) -> bool:
    """Whether a list or struct holds a null where its type says not null."""
    if isinstance(kind, _LISTS):
        items = column.flatten()
        return (items.null_count > 0 and not kind.value_field.nullable) or _has_forbidden_nulls(
            items, kind.value_type
        )
    if isinstance(kind, pa.StructType):
        present = column.drop_null() if column.null_count else column
        return any(
            (child.null_count > 0 and not field.nullable) or _has_forbidden_nulls(child, field.type)
            for field, child in zip(kind, present.flatten(), strict=True)
        )
    return False


def _require_list_sizes(column: pa.Array, kind: pa.DataType, name: str) -> None:
    if not isinstance(column.type, _LISTS) or not isinstance(kind, _LISTS):
        return
    if isinstance(kind, pa.FixedSizeListType):
        for one in column:
            if one.is_valid and len(one) != kind.list_size:
                raise ColumnLengthMismatchError(name, kind.list_size, len(one))
    _require_list_sizes(column.flatten(), kind.value_type, name)
