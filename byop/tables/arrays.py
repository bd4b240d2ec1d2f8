"""One batch <-> a dict of numpy arrays, what models see. Runs in workers too.

To numpy (reference/wallaroo-sdk.md section 3, "Conversions"): a scalar column is 1-D, strings,
binary and structs with dtype object; a list column whose lists are equally long is one stacked
array, otherwise a 1-D object array of arrays; timestamps are datetime64 of their unit (a zone is
dropped: the instants are UTC). Nulls are NaN in floats, NaT in times, None everywhere else, for
which integers and booleans become object arrays: int64 stays exact. Number columns without nulls
are views of the batch's memory: read-only when that is, as it is after reading a file or a stream.

Back: the same rules reversed. A NaN stays NaN.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from byop.errors import ColumnLengthMismatchError
from byop.tables.columns import require_names
from byop.tables.ndarrays import DTYPES, LISTS, Array, from_array


def to_arrays(batch: pa.RecordBatch) -> dict[str, Array]:
    """Return the columns by name."""
    return {
        name: to_array(column)
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
    }


def to_array(column: pa.Array) -> Array:
    """Return one column."""
    kind = column.type
    if isinstance(kind, LISTS):
        stacked = stack(column)
        return _ragged(column) if stacked is None else stacked
    return _leaf(column)


def stack(column: pa.Array) -> Array | None:
    """Return a list column as one array of shape (rows, width, ...), None when it is ragged."""
    if column.null_count:
        return None
    found = _equal_lists(column)
    if found is None:
        return None
    items, width = found
    inner = stack(items) if isinstance(items.type, LISTS) else _leaf(items)
    if inner is None:
        return None
    stacked: Array = inner.reshape(len(column), width, *inner.shape[1:])
    return stacked


def list_offsets(column: pa.Array) -> Array:
    """Return where each list begins in ``column.values``, and where the last one ends."""
    rows = len(column)
    if isinstance(column.type, pa.FixedSizeListType):
        width = int(column.type.list_size)
        return np.arange(rows + 1, dtype=np.int64) * width + int(column.offset) * width
    if not rows:
        return np.zeros(1, np.int64)
    dtype = np.dtype(np.int64 if isinstance(column.type, pa.LargeListType) else np.int32)
    return np.frombuffer(column.buffers()[1], dtype, rows + 1, column.offset * dtype.itemsize)


def _equal_lists(column: pa.Array) -> tuple[pa.Array, int] | None:
    rows = len(column)
    if isinstance(column.type, pa.FixedSizeListType):
        width = column.type.list_size
        return column.values.slice(column.offset * width, rows * width), width
    offsets = list_offsets(column)
    first = int(offsets[0])
    width = int(offsets[1]) - first if rows else 0
    if rows > 1 and (np.diff(offsets) != width).any():
        return None
    return column.values.slice(first, rows * width), width


def _leaf(column: pa.Array) -> Array:
    dtype = DTYPES.get(column.type.id)
    if dtype is None:
        return _plain(column)
    if not column.null_count:
        if not len(column):
            return np.empty(0, dtype)
        return np.frombuffer(
            column.buffers()[1], dtype, len(column), column.offset * dtype.itemsize
        )
    if dtype.kind == "f":
        return np.asarray(column.to_numpy(zero_copy_only=False))
    return _objects(column.to_pylist())


def _plain(column: pa.Array) -> Array:
    kind = column.type
    if isinstance(kind, pa.DictionaryType):
        return _leaf(column.dictionary_decode())
    if isinstance(kind, pa.FixedShapeTensorType) and not column.null_count:
        return np.asarray(column.to_numpy_ndarray())
    if isinstance(kind, pa.BaseExtensionType):
        return to_array(column.storage)
    if isinstance(kind, pa.TimestampType) or pa.types.is_date32(kind):
        unit = "D" if pa.types.is_date32(kind) else kind.unit
        return np.asarray(column.to_numpy(zero_copy_only=False)).astype(f"M8[{unit}]", copy=False)
    if pa.types.is_boolean(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return np.asarray(column.to_numpy(zero_copy_only=False))
    return _objects(column.to_pylist())


def _ragged(column: pa.Array) -> Array:
    offsets = list_offsets(column).tolist()
    items = column.values
    rows: list[Array | None]
    if isinstance(items.type, LISTS):
        rows = [to_array(items.slice(a, b - a)) for a, b in pairwise(offsets)]
    else:
        flat = _leaf(items)
        rows = [flat[a:b] for a, b in pairwise(offsets)]
    if column.null_count:
        absent = column.is_null().to_pylist()
        rows = [None if gone else row for gone, row in zip(absent, rows, strict=True)]
    return _objects(rows)


def _objects(values: list[Any]) -> Array:
    objects = np.empty(len(values), dtype=object)
    for position, value in enumerate(values):
        objects[position] = value
    return objects


def from_arrays(
    arrays: Mapping[str, Array], schema: pa.Schema | None, *, rows: int | None = None
) -> pa.RecordBatch:
    """Return the arrays as a batch of the schema's types and order; None infers both.

    Floats are rounded to the declared float type; whole floats fit an integer column. Numbers
    never become text or booleans, nor the other way round.

    Raises:
        ColumnMissingError, ColumnUnexpectedError: Other names than the schema's.
        ColumnTypeMismatchError: A value or a shape that does not fit the declared type.
        ColumnLengthMismatchError: Lists of another length than declared, or columns of another
            length than ``rows``, or than the first one when that is None.
    """
    names = list(arrays) if schema is None else schema.names
    require_names(arrays, names)
    columns = [
        from_array(name, arrays[name], None if schema is None else schema.field(i))
        for i, name in enumerate(names)
    ]
    for name, column in zip(names, columns, strict=True):
        if rows is None:
            rows = len(column)
        if len(column) != rows:
            raise ColumnLengthMismatchError(name, rows, len(column))
    if schema is None:
        return pa.RecordBatch.from_arrays(columns, names=names)
    return pa.RecordBatch.from_arrays(columns, schema=schema)
