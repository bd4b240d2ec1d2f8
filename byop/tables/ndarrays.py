"""One numpy array -> one Arrow column of a declared type."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from byop.errors import ColumnLengthMismatchError, ColumnTypeMismatchError
from byop.tables.schemas import format_type
from byop.tables.values import build_array, number_dtype, validity

Array = npt.NDArray[Any]

_NUMBER_TYPES = (
    *(pa.int8(), pa.int16(), pa.int32(), pa.int64()),
    *(pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()),
    *(pa.float16(), pa.float32(), pa.float64()),
)
DTYPES: Mapping[int, np.dtype[Any]] = {kind.id: number_dtype(kind) for kind in _NUMBER_TYPES}
"""Arrow type id -> dtype, for the types whose memory numpy shares."""
LISTS = (pa.ListType, pa.LargeListType, pa.FixedSizeListType)

_TYPES: Mapping[np.dtype[Any], pa.DataType] = {
    **{number_dtype(kind): kind for kind in _NUMBER_TYPES},
    np.dtype(np.bool_): pa.bool_(),
}
_TIME_UNITS = ("s", "ms", "us", "ns")


def from_array(name: str, values: object, field: pa.Field | None) -> pa.Array:
    """Return the array as a column of the field's type, inferred when None.

    Raises:
        ColumnTypeMismatchError: A value or the shape does not fit.
        ColumnLengthMismatchError: Lists of another length than declared.
    """
    if not isinstance(values, np.ndarray) or not values.ndim:
        expected = "an ndarray" if field is None else format_type(field.type)
        raise ColumnTypeMismatchError(name, expected, _describe(values))
    if field is None:
        return _infer(name, values)
    column = _convert(name, values, field.type)
    if column.null_count and not field.nullable:
        raise ColumnTypeMismatchError(name, f"{format_type(field.type)} not null", "null")
    return column


def _convert(name: str, values: Array, kind: pa.DataType) -> pa.Array:
    if values.dtype.kind not in "fiubM":
        return _from_objects(name, values, kind)
    levels: list[pa.DataType] = []
    leaf = kind
    while isinstance(leaf, LISTS):
        levels.append(leaf)
        leaf = leaf.value_type
    if values.ndim != len(levels) + 1:
        raise ColumnTypeMismatchError(name, format_type(kind), _describe(values))
    items = _flat(np.ascontiguousarray(values).reshape(-1), leaf)
    if items is None:
        raise ColumnTypeMismatchError(name, format_type(kind), _describe(values))
    for level in range(len(levels) - 1, -1, -1):
        items = _wrap(name, items, levels[level], values.shape, level)
    return items


def _wrap(
    name: str, items: pa.Array, kind: pa.DataType, shape: tuple[int, ...], level: int
) -> pa.Array:
    """Return the lists of dimension ``level + 1`` over their items."""
    count, width = math.prod(shape[: level + 1]), shape[level + 1]
    if isinstance(kind, pa.FixedSizeListType):
        if width != kind.list_size:
            raise ColumnLengthMismatchError(name, kind.list_size, width)
        return pa.Array.from_buffers(kind, count, [None], children=[items])
    dtype = np.int64 if isinstance(kind, pa.LargeListType) else np.int32
    if count * width > np.iinfo(dtype).max:
        raise ColumnLengthMismatchError(name, int(np.iinfo(dtype).max), count * width)
    offsets: Array = np.arange(count + 1, dtype=dtype)
    offsets *= width
    return pa.Array.from_buffers(kind, count, [None, pa.py_buffer(offsets)], children=[items])


def _flat(values: Array, kind: pa.DataType) -> pa.Array | None:
    """Return a 1-D contiguous array as ``kind``, None when it does not fit."""
    dtype = DTYPES.get(kind.id)
    if dtype is not None:
        fitted = values if values.dtype == dtype else _fit_numbers(values, dtype)
        return None if fitted is None else _over(fitted, kind)
    if pa.types.is_boolean(kind) and values.dtype.kind == "b":
        return pa.Array.from_buffers(kind, len(values), [None, validity(values)])
    if isinstance(kind, pa.TimestampType) and values.dtype.kind == "M":
        return _times(values, kind, np.dtype(f"M8[{kind.unit}]"), np.dtype(np.int64))
    if pa.types.is_date32(kind) and values.dtype.kind == "M":
        return _times(values, kind, np.dtype("M8[D]"), np.dtype(np.int32))
    return None


def _over(values: Array, kind: pa.DataType, absent: Array | None = None) -> pa.Array:
    bitmap = None if absent is None else validity(~absent)
    return pa.Array.from_buffers(kind, len(values), [bitmap, pa.py_buffer(values)])


def _fit_numbers(values: Array, dtype: np.dtype[Any]) -> Array | None:
    if values.dtype.kind not in "fiu":
        return None
    if dtype.kind == "f":
        with np.errstate(over="raise"):
            try:
                return values.astype(dtype)
            except FloatingPointError:
                return None
    if values.dtype.kind == "f" and not (np.isfinite(values) & (values == np.rint(values))).all():
        return None
    if len(values):
        limits = np.iinfo(dtype)
        # Python integers: 2**63 as a float64 would pass a comparison with int64's own limit.
        if not limits.min <= int(values.min()) <= int(values.max()) <= limits.max:
            return None
    return values.astype(dtype)


def _times(
    values: Array, kind: pa.DataType, unit: np.dtype[Any], stored: np.dtype[Any]
) -> pa.Array | None:
    converted = values.astype(unit)
    absent = np.isnat(values)
    if not (absent | (converted.astype(values.dtype) == values)).all():
        return None
    numbers = converted.view(np.int64).astype(stored, copy=False)
    return _over(numbers, kind, absent if absent.any() else None)


def _from_objects(name: str, values: Array, kind: pa.DataType) -> pa.Array:
    if not isinstance(kind, LISTS):
        if values.ndim != 1:
            raise ColumnTypeMismatchError(name, format_type(kind), _describe(values))
        return build_array(name, values.tolist(), kind)
    return _ragged_numbers(values, kind) or build_array(name, _as_lists(values), kind)


def _ragged_numbers(values: Array, kind: pa.DataType) -> pa.Array | None:
    """Return 1-D number arrays of different lengths as lists, None when it is something else."""
    if values.ndim != 1 or not len(values) or not isinstance(kind, pa.ListType):
        return None
    rows = values.tolist()
    if not all(isinstance(row, np.ndarray) and row.ndim == 1 for row in rows):
        return None
    joined = np.concatenate(rows)
    items = _flat(joined, kind.value_type) if joined.dtype.kind in "fiu" else None
    if items is None:
        return None
    offsets = np.zeros(len(rows) + 1, np.int32)
    np.cumsum(list(map(len, rows)), out=offsets[1:])
    return pa.Array.from_buffers(kind, len(rows), [None, pa.py_buffer(offsets)], children=[items])


def _as_lists(value: Any) -> Any:  # noqa: ANN401 - object arrays hold anything
    if isinstance(value, np.ndarray):
        # tolist() would turn times that datetime cannot hold into bare integers.
        return _as_lists(list(value) if value.dtype.kind == "M" else value.tolist())
    if isinstance(value, np.datetime64):
        return None if np.isnat(value) else value
    if isinstance(value, list):
        return [_as_lists(item) for item in value]
    return value


def _infer(name: str, values: Array) -> pa.Array:
    leaf = _TYPES.get(values.dtype)
    if leaf is None and values.dtype.kind == "M":
        unit = np.datetime_data(values.dtype)[0]
        leaf = pa.timestamp(unit) if unit in _TIME_UNITS else pa.date32() if unit == "D" else None
    if leaf is None and values.dtype.kind == "U":
        leaf = pa.string()
    if leaf is not None:
        return _convert(name, values, _nested(leaf, values.ndim - 1))
    try:
        return pa.array(values.tolist())
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise ColumnTypeMismatchError(name, "values of one type", str(error)) from error


def _nested(leaf: pa.DataType, levels: int) -> pa.DataType:
    kind = leaf
    for _ in range(levels):
        kind = pa.list_(kind)
    return kind


def _describe(values: object) -> str:
    if not isinstance(values, np.ndarray):
        return type(values).__name__
    return f"an array of {values.dtype} of shape {values.shape}"
