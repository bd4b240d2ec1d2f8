"""Python values (parsed JSON, object arrays) -> Arrow arrays of a declared type, strictly.

``pa.array(values, type)`` is not used for numbers: it cuts 1.5 to 1 for an integer column, takes
booleans as numbers and turns 1e300 into a float32 infinity. ``array.array`` refuses what has the
wrong type, converts faster, and its memory becomes the column's.
"""

from array import array
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from byop.errors import ColumnLengthMismatchError
from byop.tables.misfits import Place, Values, describe
from byop.tables.text_values import binaries, dates, timestamps, whatever_arrow_takes

_MAX_OFFSET = 2**31 - 1


def build_array(
    column: str,
    values: Values,
    kind: pa.DataType,
    *,
    may_hold_booleans: Callable[[], bool] = lambda: True,
) -> pa.Array:
    """Return the values as an array of ``kind``; None becomes null.

    ``may_hold_booleans`` is asked, at most once per column of numbers, when only a look at every
    value's type could tell True from 1.

    Raises:
        ColumnTypeMismatchError: A value does not fit ``kind``, at any depth.
        ColumnLengthMismatchError: A list has another length than ``kind`` demands.
    """
    return _build(values, kind, Place(column, kind, may_hold_booleans))


def validity(present: npt.NDArray[np.bool_]) -> pa.Buffer:
    """Return the bitmap of ``present``."""
    return pa.py_buffer(np.packbits(present, bitorder="little"))


@dataclass(frozen=True, slots=True)
class _Number:
    """How a number type is read: the ``array.array`` code, its dtype, and the type's own."""

    code: str
    wide: np.dtype[Any]
    dtype: np.dtype[Any]


def number_dtype(kind: pa.DataType) -> np.dtype[Any]:
    """Return the numpy dtype of a number type; before pyarrow 22, pyarrow needs pandas for that."""
    is_float = pa.types.is_floating(kind)
    letter = "f" if is_float else "u" if pa.types.is_unsigned_integer(kind) else "i"
    return np.dtype(f"{letter}{kind.bit_width // 8}")


def _number_of(code: str, kind: pa.DataType) -> tuple[int, _Number]:
    return kind.id, _Number(code, np.dtype(code), number_dtype(kind))


_NUMBERS: Mapping[int, _Number] = dict(
    [_number_of("d", kind) for kind in (pa.float16(), pa.float32(), pa.float64())]
    + [_number_of("q", kind) for kind in (pa.int8(), pa.int16(), pa.int32(), pa.int64())]
    + [_number_of("Q", kind) for kind in (pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64())]
)


def _build(values: Values, kind: pa.DataType, place: Place) -> pa.Array:
    number = _NUMBERS.get(kind.id)
    if number is not None:
        return _numbers(values, kind, number, place)
    return _BUILDERS.get(kind.id, whatever_arrow_takes)(values, kind, place)


def _numbers(values: Values, kind: pa.DataType, number: _Number, place: Place) -> pa.Array:
    try:
        wide = array(number.code, values)
    except (TypeError, OverflowError):
        return _numbers_with_nulls(values, kind, number, place)
    return _from_numbers(wide, values, kind, number, place)


def _numbers_with_nulls(
    values: Values, kind: pa.DataType, number: _Number, place: Place
) -> pa.Array:
    wide = array(number.code)
    for value in values:
        try:
            wide.append(0 if value is None else value)
        except TypeError:
            raise place.misfit(describe(value)) from None
        except OverflowError:
            raise place.misfit(f"{value}, out of range") from None
    full = _from_numbers(wide, values, kind, number, place)
    present = np.fromiter((value is not None for value in values), np.bool_, len(values))
    return pa.Array.from_buffers(kind, len(full), [validity(present), full.buffers()[1]])


def _from_numbers(
    wide: "array[Any]",
    source: Iterable[object],
    kind: pa.DataType,
    number: _Number,
    place: Place,
) -> pa.Array:
    """Return the numbers as ``kind``. ``source`` yields what they were made of, in order."""
    if not wide:
        return pa.nulls(0, kind)
    numbers = np.frombuffer(wide, number.wide)
    # array.array takes True for 1: only where a 0 or a 1 came out are the types looked at.
    is_doubtful = ((numbers == 0) | (numbers == 1)).any() and place.may_hold_booleans()
    if is_doubtful and not _BOOLEANS.isdisjoint(map(type, source)):
        raise place.misfit("bool")
    fitted = numbers if number.dtype == number.wide else _narrow(numbers, number.dtype, place)
    return pa.Array.from_buffers(kind, len(fitted), [None, pa.py_buffer(fitted)])


def _narrow(numbers: npt.NDArray[Any], dtype: np.dtype[Any], place: Place) -> npt.NDArray[Any]:
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


def _lists(values: Values, kind: pa.DataType, place: Place) -> pa.Array:
    items = _numbers_of_lists(values, kind.value_type, place)
    if items is not None:
        return _as_lists(values, items, kind, None, place)
    absent = _filler(kind)
    lists = [absent if value is None else value for value in values]
    for value in lists:
        if type(value) is not list:
            raise place.misfit(describe(value))
    items = _build(list(chain.from_iterable(lists)), kind.value_type, place)
    if items.null_count and not kind.value_field.nullable:
        raise place.misfit("null in a list")
    return _as_lists(lists, items, kind, _present(values), place)


def _numbers_of_lists(values: Values, kind: pa.DataType, place: Place) -> pa.Array | None:
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
    lists: Values, items: pa.Array, kind: pa.DataType, present: pa.Buffer | None, place: Place
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


def _structs(values: Values, kind: pa.DataType, place: Place) -> pa.Array:
    fields = list(kind)
    absent = dict.fromkeys((field.name for field in fields), None)
    objects = [absent if value is None else value for value in values]
    for value in objects:
        if type(value) is not dict:
            raise place.misfit(describe(value))
        if value.keys() != absent.keys():
            raise place.misfit(f"an object with {', '.join(map(repr, value)) or 'nothing'}")
    children = [_build([value[f.name] for value in objects], f.type, place) for f in fields]
    present = _present(values)
    for field, child in zip(fields, children, strict=True):
        if child.null_count and present is None and not field.nullable:
            raise place.misfit(f"null in {field.name!r}")
    return pa.Array.from_buffers(kind, len(values), [present], children=children)


_BUILDERS: Mapping[int, Callable[[Values, pa.DataType, Place], pa.Array]] = {
    pa.list_(pa.null()).id: _lists,
    pa.large_list(pa.null()).id: _lists,
    pa.list_(pa.null(), 1).id: _lists,
    pa.struct([]).id: _structs,
    pa.timestamp("s").id: timestamps,
    pa.date32().id: dates,
    pa.binary().id: binaries,
    pa.large_binary().id: binaries,
}
_BOOLEANS: frozenset[type] = frozenset({bool, np.bool_})
