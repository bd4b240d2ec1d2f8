import pyarrow as pa
import pytest

from byop.store.log_fixed import decode_fixed
from byop.store.log_rows import LogSchema

_PAIR = pa.list_(pa.float32(), 2)
SCHEMA = LogSchema(
    pa.schema(
        {
            "in.n": pa.int64(),
            "in.pair": _PAIR,
            "out.at": pa.timestamp("ms", "UTC"),
            "anomaly.count": pa.int8(),
        }
    )
)


def _batch(*numbers: int | None) -> pa.RecordBatch:
    pairs = [None if number is None else [number, number + 1] for number in numbers]
    columns = [
        pa.array(numbers, pa.int64()),
        pa.array(pairs, _PAIR),
        pa.array(numbers, SCHEMA.schema.field(2).type),
        pa.array([1] * len(numbers), pa.int8()),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA.schema)


@pytest.mark.parametrize(
    "batches",
    [
        [_batch(1), _batch(2), _batch(3)],
        [_batch(1, 2, 3), _batch(4, 5, 6)],
        [_batch(1), _batch(2, 3), _batch(4), _batch(5, 6)],
        [_batch(1), _batch(None), _batch(3), _batch(None)],
        [_batch(None), _batch(2)],
        [_batch(1).slice(0, 1), _batch(7, 8).slice(1)],
    ],
)
def test_batches_decoded_together_are_those_decoded_one_by_one(
    batches: list[pa.RecordBatch],
) -> None:
    stored = [SCHEMA.encode(batch).to_pybytes() for batch in batches]
    together = decode_fixed(stored, SCHEMA.decode)
    assert together is not None
    expected = pa.Table.from_batches(batches).combine_chunks()
    assert together.combine_chunks().equals(expected)
    assert SCHEMA.decode_all(stored).combine_chunks().equals(expected)


def test_batches_of_many_layouts_are_left_to_arrow() -> None:
    batches = [_batch(*range(count)) for count in range(1, 40)]
    stored = [SCHEMA.encode(batch).to_pybytes() for batch in batches]
    assert decode_fixed(stored, SCHEMA.decode) is None
    assert SCHEMA.decode_all(stored).equals(pa.Table.from_batches(batches))


@pytest.mark.parametrize("place", range(0, 400, 4))
def test_changed_head_is_refused_or_read_within_its_bytes(place: int) -> None:
    stored = [SCHEMA.encode(_batch(number)).to_pybytes() for number in range(3)]
    stored[1] = stored[1][:place] + b"\x7f\x00\x00\x7f" + stored[1][place + 4 :]
    try:
        table = SCHEMA.decode_all(stored)
    except (pa.ArrowException, OSError):
        return
    table.combine_chunks().validate(full=True)
