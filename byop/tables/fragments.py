"""Arrow columns -> the JSON text of every value, and such texts -> rows of objects.

The fast way through Python: a whole column is serialised by one orjson call over numpy memory
(float32 in its own shortest digits), the text is cut into values, and the cuts of all columns are
laid between the keys and joined once. No value becomes a Python object on the way.

NaN and the infinities have no JSON form: they are written as null, as orjson and pandas do.
"""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from byop.tables.arrays import list_offsets, stack, to_array
from byop.tables.ndarrays import DTYPES, LISTS


@dataclass(frozen=True, slots=True)
class Fragments:
    """Texts of a column: the value of row i is ``before + texts[i] + after``."""

    before: bytes
    texts: list[bytes]
    after: bytes


Piece = bytes | list[bytes]
"""Text that is the same in every row, or one text per row."""


def fragments(column: pa.Array, *, comma: bool) -> Fragments:
    """Return the texts of the column's values, each with a comma behind it when asked.

    The comma is not decoration: cutting ``[[1,2],[3,4]]`` at ``[`` leaves it on every value for
    free, where cutting it off takes a slower search.
    """
    if isinstance(column.type, LISTS) and len(column) and _holds_numbers(column.type):
        stacked = stack(column)
        if stacked is not None and stacked.size and stacked.dtype != object:
            return _cut(stacked, comma=comma)
    return Fragments(b"", texts(column), b"," if comma else b"")


def join_rows(pieces: Sequence[Piece], rows: int) -> bytes:
    """Return a JSON array of ``rows`` objects, each the concatenation of its pieces.

    The first and the last piece are the braces.
    """
    if not rows:
        return b"[]"
    merged = _merge([b",", *pieces])
    count = len(merged)
    parts: list[bytes] = [b""] * (rows * count)
    for position, piece in enumerate(merged):
        parts[position::count] = piece if isinstance(piece, list) else [piece] * rows
    parts[0] = b"[" + parts[0][1:]
    parts.append(b"]")
    return b"".join(parts)


def texts(column: pa.Array) -> list[bytes]:
    """Return the JSON text of every value."""
    kind = column.type
    if kind.id in DTYPES:
        return _number_texts(column)
    return _WRITERS.get(kind.id, _write_anything)(column)


def _merge(pieces: Sequence[Piece]) -> list[Piece]:
    merged: list[Piece] = []
    for piece in pieces:
        last = merged[-1] if merged else None
        if isinstance(piece, bytes) and isinstance(last, bytes):
            merged[-1] = last + piece
        else:
            merged.append(piece)
    return merged


def _holds_numbers(kind: pa.DataType) -> bool:
    leaf = kind
    while isinstance(leaf, LISTS):
        leaf = leaf.value_type
    return leaf.id in DTYPES or bool(pa.types.is_boolean(leaf))


def _cut(stacked: npt.NDArray[Any], *, comma: bool) -> Fragments:
    whole = _dump(stacked)
    if stacked.ndim == 2:  # noqa: PLR2004 - rows of flat lists
        if not comma:
            return Fragments(b"[", whole[2:-2].split(b"],["), b"]")
        cuts = whole.split(b"[")[2:]
        cuts[-1] = cuts[-1][:-1] + b","
        return Fragments(b"[", cuts, b"")
    depth = stacked.ndim - 1
    opening, closing = b"[" * depth, b"]" * depth
    cuts = whole[depth + 1 : -depth - 1].split(closing + b"," + opening)
    return Fragments(opening, cuts, closing + b"," if comma else closing)


def _dump(values: npt.NDArray[Any]) -> bytes:
    if values.dtype == np.float16:
        values = values.astype(np.float32)
    return orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY)


def _number_texts(column: pa.Array) -> list[bytes]:
    if not len(column):
        return []
    if column.null_count and not pa.types.is_floating(column.type):
        return _with_nulls(column, _number_texts(column.fill_null(0)))
    return _dump(to_array(column))[1:-1].split(b",")


def _with_nulls(column: pa.Array, written: list[bytes]) -> list[bytes]:
    for position in np.flatnonzero(column.is_null()).tolist():
        written[position] = b"null"
    return written


def _write_booleans(column: pa.Array) -> list[bytes]:
    return [b"null" if v is None else b"true" if v else b"false" for v in column.to_pylist()]


def _write_strings(column: pa.Array) -> list[bytes]:
    if not len(column):
        return []
    # A raw line break stands between the values alone: inside them it is escaped. One call per
    # value was measured from as fast to thirty times slower, from one run to the next.
    whole = orjson.dumps(to_array(column).tolist(), option=orjson.OPT_INDENT_2)
    return whole[4:-2].split(b",\n  ")


def _write_binaries(column: pa.Array) -> list[bytes]:
    return [
        b"null" if value is None else b'"' + base64.b64encode(value) + b'"'
        for value in column.to_pylist()
    ]


def _write_times(column: pa.Array) -> list[bytes]:
    suffix = '"' if getattr(column.type, "tz", None) is None else 'Z"'
    written = [f'"{t}{suffix}'.encode() for t in np.datetime_as_string(to_array(column)).tolist()]
    return _with_nulls(column, written) if column.null_count else written


def _write_lists(column: pa.Array) -> list[bytes]:
    bounds = list_offsets(column).tolist()
    if not len(column):
        return []
    first = bounds[0]
    items = texts(column.values.slice(first, bounds[-1] - first))
    written = [b"[" + b",".join(items[a - first : b - first]) + b"]" for a, b in pairwise(bounds)]
    return _with_nulls(column, written) if column.null_count else written


def _write_structs(column: pa.Array) -> list[bytes]:
    names = [field.name for field in column.type]
    if not names:
        return _with_nulls(column, [b"{}"] * len(column))
    keys = [(b"," if i else b"{") + orjson.dumps(name) + b":" for i, name in enumerate(names)]
    children = [texts(child) for child in column.flatten()]
    written = [
        b"".join(part for pair in zip(keys, row, strict=True) for part in pair) + b"}"
        for row in zip(*children, strict=True)
    ]
    return _with_nulls(column, written) if column.null_count else written


def _write_anything(column: pa.Array) -> list[bytes]:
    """Other types: dictionaries as their values, tensors as lists, the rest as Arrow prints it."""
    if isinstance(column.type, pa.DictionaryType):
        return texts(column.dictionary_decode())
    if isinstance(column.type, pa.FixedShapeTensorType) and not column.null_count and len(column):
        whole = _cut(column.to_numpy_ndarray(), comma=False)
        return [whole.before + text + whole.after for text in whole.texts]
    if isinstance(column.type, pa.BaseExtensionType):
        return texts(column.storage)
    return [orjson.dumps(value, default=str) for value in column.to_pylist()]


_WRITERS: Mapping[int, Callable[[pa.Array], list[bytes]]] = {
    pa.bool_().id: _write_booleans,
    pa.string().id: _write_strings,
    pa.large_string().id: _write_strings,
    pa.binary().id: _write_binaries,
    pa.large_binary().id: _write_binaries,
    pa.timestamp("s").id: _write_times,
    pa.date32().id: _write_times,
    pa.list_(pa.null()).id: _write_lists,
    pa.large_list(pa.null()).id: _write_lists,
    pa.list_(pa.null(), 1).id: _write_lists,
    pa.struct([]).id: _write_structs,
}
