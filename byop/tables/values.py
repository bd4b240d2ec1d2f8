"""Python values (parsed JSON, object arrays) -> Arrow arrays of a declared type, strictly.

``pa.array(values, type)`` is not used for numbers: it cuts 1.5 to 1 for an integer column, takes
booleans as numbers and turns 1e300 into a float32 infinity. ``array.array`` refuses what has the
wrong type, converts faster, and its memory becomes the column's.

In JSON a timestamp is ISO 8601 text, with an offset exactly when the type has a zone, or an
integer: milliseconds since 1970 UTC, which is what pandas writes. A date32 is ``YYYY-MM-DD``,
binary is base64.
"""

import base64
import binascii
from array import array
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from byop.errors import ColumnLengthMismatchError, ColumnTypeMismatchError
from byop.tables.schemas import format_type

Values = list[Any]
"""Elements of one column; what they are is found out here."""

_MAX_OFFSET = 2**31 - 1


def build_array(column: str, values: Values, kind: pa.DataType) -> pa.Array:
    """Return the values as an array of ``kind``; None becomes null.

    Raises:
        ColumnTypeMismatchError: A value does not fit ``kind``, at any depth.
        ColumnLengthMismatchError: A list has another length than ``kind`` demands.
    """
    return _build(values, kind, _Place(column, kind))


def validity(present: npt.NDArray[np.bool_]) -> pa.Buffer:
    """Return the bitmap of ``present``."""
    return pa.py_buffer(np.packbits(present, bitorder="little"))


@dataclass(frozen=True, slots=True)
class _Place:
    """Which column is being built, for errors."""

    column: str
    declared: pa.DataType

    def misfit(self, got: str) -> ColumnTypeMismatchError:
        return ColumnTypeMismatchError(self.column, format_type(self.declared), got)


@dataclass(frozen=True, slots=True)
class _Number:
    """How a number type is read: the ``array.array`` code, its dtype, and the type's own."""

    code: str
    wide: np.dtype[Any]
    dtype: np.dtype[Any]


def _number_of(code: str, kind: pa.DataType) -> tuple[int, _Number]:
    return kind.id, _Number(code, np.dtype(code), np.dtype(kind.to_pandas_dtype()))


_NUMBERS: Mapping[int, _Number] = dict(
    [_number_of("d", kind) for kind in (pa.float16(), pa.float32(), pa.float64())]
    + [_number_of("q", kind) for kind in (pa.int8(), pa.int16(), pa.int32(), pa.int64())]
    + [_number_of("Q", kind) for kind in (pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64())]
)


def _build(values: Values, kind: pa.DataType, place: _Place) -> pa.Array:
    number = _NUMBERS.get(kind.id)
    if number is not None:
        return _numbers(values, kind, number, place)
    return _BUILDERS.get(kind.id, _whatever_arrow_takes)(values, kind, place)


def _numbers(values: Values, kind: pa.DataType, number: _Number, place: _Place) -> pa.Array:
    try:
        wide = array(number.code, values)
    except (TypeError, OverflowError):
        return _numbers_with_nulls(values, kind, number, place)
    return _from_numbers(wide, values, kind, number, place)


def _numbers_with_nulls(
    values: Values, kind: pa.DataType, number: _Number, place: _Place
) -> pa.Array:
    wide = array(number.code)
    for value in values:
        try:
            wide.append(0 if value is None else value)
        except (TypeError, OverflowError):
            raise place.misfit(_describe(value)) from None
    full = _from_numbers(wide, values, kind, number, place)
    present = np.fromiter((value is not None for value in values), np.bool_, len(values))
    return pa.Array.from_buffers(kind, len(full), [validity(present), full.buffers()[1]])


def _from_numbers(
    wide: "array[Any]",
    source: Iterable[object],
    kind: pa.DataType,
    number: _Number,
    place: _Place,
) -> pa.Array:
    """Return the numbers as ``kind``. ``source`` yields what they were made of, in order."""
    if not wide:
        return pa.nulls(0, kind)
    numbers = np.frombuffer(wide, number.wide)
    # array.array takes True for 1: only where a 0 or a 1 came out are the types looked at.
    if ((numbers == 0) | (numbers == 1)).any() and not _BOOLEANS.isdisjoint(map(type, source)):
        raise place.misfit("bool")
    fitted = numbers if number.dtype == number.wide else _narrow(numbers, number.dtype, place)
    return pa.Array.from_buffers(kind, len(fitted), [None, pa.py_buffer(fitted)])


def _narrow(numbers: npt.NDArray[Any], dtype: np.dtype[Any], place: _Place) -> npt.NDArray[Any]:
    if dtype.kind == "f":
        with np.errstate(over="raise"):
            try:
                return numbers.astype(dtype)
            except FloatingPointError:
                raise place.misfit(f"{numbers[np.abs(numbers).argmax()]}, out of range") from None
    limits = np.iinfo(dtype)
    for extreme in (numbers.min(), numbers.max()):
        if not limits.min <= extreme <= limits.max:
            raise place.misfit(f"{extreme}, out of range")
    return numbers.astype(dtype)


def _lists(values: Values, kind: pa.DataType, place: _Place) -> pa.Array:
    items = _numbers_of_lists(values, kind.value_type, place)
    if items is not None:
        return _as_lists(values, items, kind, None, place)
    absent = _filler(kind)
    lists = [absent if value is None else value for value in values]
    for value in lists:
        if type(value) is not list:
            raise place.misfit(_describe(value))
    items = _build(list(chain.from_iterable(lists)), kind.value_type, place)
    if items.null_count and not kind.value_field.nullable:
        raise place.misfit("null in a list")
    return _as_lists(lists, items, kind, _present(values), place)


def _numbers_of_lists(values: Values, kind: pa.DataType, place: _Place) -> pa.Array | None:
    """Return all numbers of lists of numbers, None when that is not what the values are."""
    number = _NUMBERS.get(kind.id)
    if number is None:
        return None
    wide = array(number.code)
    try:
        for value in values:
            wide.fromlist(value)
    except (TypeError, OverflowError):
        return None
    return _from_numbers(wide, chain.from_iterable(values), kind, number, place)


def _as_lists(
    lists: Values, items: pa.Array, kind: pa.DataType, present: pa.Buffer | None, place: _Place
) -> pa.Array:
    widths = set(map(len, lists))
    if isinstance(kind, pa.FixedSizeListType):
        for width in widths - {kind.list_size}:
            raise ColumnLengthMismatchError(place.column, kind.list_size, width)
        return pa.Array.from_buffers(kind, len(lists), [present], children=[items])
    dtype = np.int64 if isinstance(kind, pa.LargeListType) else np.int32
    if len(items) > _MAX_OFFSET and dtype is np.int32:
        raise ColumnLengthMismatchError(place.column, _MAX_OFFSET, len(items))
    if len(widths) == 1 and (width := next(iter(widths))):
        offsets = np.arange(0, len(items) + 1, width, dtype=dtype)
    else:
        offsets = np.zeros(len(lists) + 1, dtype=dtype)
        np.cumsum(list(map(len, lists)), out=offsets[1:])
    return pa.Array.from_buffers(
        kind, len(lists), [present, pa.py_buffer(offsets)], children=[items]
    )


def _filler(kind: pa.DataType) -> list[None]:
    """Return what stands under a null list."""
    return [None] * kind.list_size if isinstance(kind, pa.FixedSizeListType) else []


def _present(values: Values) -> pa.Buffer | None:
    if None not in values:
        return None
    return validity(np.fromiter((value is not None for value in values), np.bool_, len(values)))


def _structs(values: Values, kind: pa.DataType, place: _Place) -> pa.Array:
    fields = list(kind)
    absent = dict.fromkeys((field.name for field in fields), None)
    objects = [absent if value is None else value for value in values]
    for value in objects:
        if type(value) is not dict:
            raise place.misfit(_describe(value))
        if value.keys() != absent.keys():
            raise place.misfit(f"an object with {', '.join(map(repr, value)) or 'nothing'}")
    children = [_build([value[f.name] for value in objects], f.type, place) for f in fields]
    present = _present(values)
    for field, child in zip(fields, children, strict=True):
        if child.null_count and present is None and not field.nullable:
            raise place.misfit(f"null in {field.name!r}")
    return pa.Array.from_buffers(kind, len(values), [present], children=children)


def _timestamps(values: Values, kind: pa.DataType, place: _Place) -> pa.Array:
    found = set(map(type, values)) - {type(None)}
    if found <= {str}:
        return _cast_text(values, kind, place)
    if found <= {int}:
        return _reporting(
            lambda: pa.array(values, pa.int64()).cast(pa.timestamp("ms", kind.tz)).cast(kind),
            values,
            place,
        )
    if found & {float, bool, dict, list}:
        raise place.misfit(_describe_types(found))
    return _whatever_arrow_takes(values, kind, place)


def _dates(values: Values, kind: pa.DataType, place: _Place) -> pa.Array:
    found = set(map(type, values)) - {type(None)}
    if found <= {date}:
        return _whatever_arrow_takes(values, kind, place)
    if found <= {str}:
        return _cast_text(values, kind, place)
    raise place.misfit(_describe_types(found))


def _cast_text(values: Values, kind: pa.DataType, place: _Place) -> pa.Array:
    try:
        return pa.array(values, pa.string()).cast(kind)
    except pa.ArrowInvalid as error:
        raise place.misfit(f"text that is no {format_type(kind)}: {error}") from error


def _binaries(values: Values, kind: pa.DataType, place: _Place) -> pa.Array:
    def decode(value: object) -> object:
        return base64.b64decode(value, validate=True) if isinstance(value, str) else value

    try:
        plain = [decode(value) for value in values]
    except (binascii.Error, ValueError):
        raise place.misfit("text that is no base64") from None
    return _whatever_arrow_takes(plain, kind, place)


def _whatever_arrow_takes(values: Values, kind: pa.DataType, place: _Place) -> pa.Array:
    return _reporting(lambda: pa.array(values, type=kind), values, place)


def _reporting(build: Callable[[], pa.Array], values: Values, place: _Place) -> pa.Array:
    try:
        return build()
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        found = {type(value) for value in values if value is not None}
        raise place.misfit(_describe_types(found)) from error


_BUILDERS: Mapping[int, Callable[[Values, pa.DataType, _Place], pa.Array]] = {
    pa.list_(pa.null()).id: _lists,
    pa.large_list(pa.null()).id: _lists,
    pa.list_(pa.null(), 1).id: _lists,
    pa.struct([]).id: _structs,
    pa.timestamp("s").id: _timestamps,
    pa.date32().id: _dates,
    pa.binary().id: _binaries,
    pa.large_binary().id: _binaries,
}
_BOOLEANS: frozenset[type] = frozenset({bool, np.bool_})
_WORDS: Mapping[type, str] = {
    type(None): "null",
    bool: "bool",
    int: "int",
    float: "float",
    str: "string",
    list: "list",
    dict: "object",
}


def _describe(value: object) -> str:
    if type(value) is int:
        return f"{value}, out of range"
    return _WORDS.get(type(value), type(value).__name__)


def _describe_types(found: set[type]) -> str:
    return " and ".join(sorted(_WORDS.get(kind, kind.__name__) for kind in found)) or "nothing"
