"""Columns of types that Parquet does not keep: each cell as an Arrow IPC stream."""

from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from byop.store.log_flat import METADATA_FIELDS, PLACE_FIELDS

_MARK: Final = {b"byop.cells": b"arrow-ipc-stream"}
_SAMPLE_ROWS = 4


def to_storable(table: pa.Table, *, only_cells: bool = False) -> pa.Table:
    """Return a flat table in types that Parquet keeps.

    A column that Parquet would change beyond a cast becomes binary, marked in its field.
    ``only_cells`` does so with every column of the record.
    """
    first, stop = len(PLACE_FIELDS), table.num_columns - len(METADATA_FIELDS)
    for number in range(first, stop):
        field = table.field(number)
        if only_cells or not _is_kept(field, table.column(number)):
            cells = pa.array(map(_pack, _cells(table.column(number))), pa.binary())
            marked = pa.field(field.name, pa.binary(), nullable=False, metadata=_MARK)
            table = table.set_column(number, marked, cells)
    return table


def from_stored(column: pa.ChunkedArray, stored: pa.Field, field: pa.Field) -> pa.ChunkedArray:
    """Return the column of ``field`` that ``to_storable`` made ``stored`` of."""
    if stored.metadata and _MARK.items() <= stored.metadata.items():
        cells = [_unpack(cell.as_py()) for cell in column]
        return pa.chunked_array(cells, field.type)
    if column.type.equals(field.type):
        return column
    return column.cast(field.type)


def _is_kept(field: pa.Field, column: pa.ChunkedArray) -> bool:
    if _is_plain(field.type):
        return True
    sample = pa.table([column.slice(0, _SAMPLE_ROWS)], schema=pa.schema([field]))
    sink = pa.BufferOutputStream()
    try:
        pq.write_table(sample, sink)
        back = pq.read_table(pa.BufferReader(sink.getvalue())).column(0).cast(field.type)
    except (pa.ArrowException, NotImplementedError, TypeError):
        return False
    return bool(back.type.equals(field.type) and back.null_count == sample.column(0).null_count)


def _is_plain(kind: pa.DataType) -> bool:
    """Return whether the type is known to come back as it was."""
    is_number = pa.types.is_integer(kind) or pa.types.is_float32(kind) or pa.types.is_float64(kind)
    if is_number or pa.types.is_boolean(kind) or pa.types.is_string(kind):
        return True
    is_list = pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind)
    return is_list and _is_plain(kind.value_type)


def _cells(column: pa.ChunkedArray) -> list[pa.Array]:
    return [chunk.slice(at, 1) for chunk in column.chunks for at in range(len(chunk))]


def _pack(cell: pa.Array) -> bytes:
    batch = pa.RecordBatch.from_arrays([cell], names=["cell"])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as stream:
        stream.write_batch(batch)
    return bytes(sink.getvalue())


def _unpack(stored: bytes) -> pa.Array:
    with pa.ipc.open_stream(pa.py_buffer(stored)) as stream:
        return stream.read_next_batch().column(0)
