"""Many small stored batches of fixed-width columns decoded at once.

Batches of one row differ only in their values when no column has text, bits or nulls: then the
columns of all are strided copies out of the joined bytes, a tenth of the cost of decoding each.
Arrow's own head of a message tells which are laid out alike.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pyarrow as pa

_PREFIX_BYTES = 8
"""Before a message's head: a mark, and the head's length (Arrow Columnar Format)."""
_MOST_LAYOUTS = 32


def is_fixed(kind: pa.DataType) -> bool:
    """Return whether values of the type are so many whole bytes each."""
    if pa.types.is_fixed_size_list(kind):
        return kind.list_size > 0 and is_fixed(kind.value_type)
    if isinstance(kind, pa.BaseExtensionType) or pa.types.is_boolean(kind):
        return False
    return bool(pa.types.is_primitive(kind))


def decode_fixed(
    stored: Sequence[bytes], decode: Callable[[bytes], pa.RecordBatch]
) -> pa.Table | None:
    """Return the rows of all batches, in their order; None when they are laid out in many ways.

    ``decode`` decodes one of them in place; every column is of a type that ``is_fixed``.
    """
    alike: dict[tuple[int, bytes], list[int]] = {}
    for number, one in enumerate(stored):
        head = one[: _PREFIX_BYTES + int.from_bytes(one[4:_PREFIX_BYTES], "little")]
        alike.setdefault((len(one), head), []).append(number)
    if len(alike) > _MOST_LAYOUTS:
        return None
    tables, order = [], []
    for (_, head), numbers in alike.items():
        group = [stored[number] for number in numbers]
        first = decode(group[0])
        first.validate()
        together = _decode_alike(group, len(head), first)
        batches = list(map(decode, group)) if together is None else [together]
        tables.append(pa.Table.from_batches(batches))
        order.append(np.repeat(numbers, first.num_rows))
    if len(tables) == 1:
        return tables[0]
    places = np.argsort(np.concatenate(order), kind="stable")
    return pa.concat_tables(tables).combine_chunks().take(pa.array(places))


def _decode_alike(
    stored: Sequence[bytes], head_bytes: int, first: pa.RecordBatch
) -> pa.RecordBatch | None:
    """Return the rows of batches of one layout; None when that has more than plain values.

    ``first`` is ``stored[0]``, decoded in place.
    """
    size = len(stored[0])
    base = pa.py_buffer(stored[0]).address
    starts = [start - base for column in first.columns for start in _addresses(column)]
    if not starts or not all(head_bytes <= start < size for start in starts):
        return None  # It has nulls, or was copied.
    rows = np.frombuffer(b"".join(stored), np.uint8).reshape(len(stored), size)
    columns = [_column(column, rows, base) for column in first.columns]
    return pa.RecordBatch.from_arrays(columns, schema=first.schema)


def _addresses(column: pa.Array) -> Iterator[int]:
    """Yield where the values lie; 0 for what is not there or not alone."""
    is_list = pa.types.is_fixed_size_list(column.type)
    if column.null_count or column.offset or column.buffers()[0] is not None:
        yield 0
    elif is_list:
        yield from _addresses(column.values)
    else:
        yield column.buffers()[1].address


def _column(column: pa.Array, rows: np.ndarray, base: int) -> pa.Array:
    if pa.types.is_fixed_size_list(column.type):
        values = _column(column.values, rows, base)
        return pa.FixedSizeListArray.from_arrays(values, type=column.type)
    start = column.buffers()[1].address - base
    stop = start + len(column) * column.type.bit_width // 8
    values = np.ascontiguousarray(rows[:, start:stop])
    return pa.Array.from_buffers(column.type, len(rows) * len(column), [None, pa.py_buffer(values)])
