import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from byop.errors import InvalidPayloadError, TooLargeError
from byop.tables.ipc import (
    TableLimits,
    read_file,
    read_stream,
    read_trusted_stream,
    write_file,
    write_stream,
)

LIMITS = TableLimits(decoded_bytes=1 << 20)


def batch_of(**columns: object) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict(columns)


def file_of(*batches: pa.RecordBatch, compression: str | None = None) -> bytes:
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_file(sink, batches[0].schema, options=options) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return bytes(sink.getvalue())


def test_a_file_and_a_stream_give_back_what_was_written() -> None:
    batch = batch_of(text=["a", None], tensor=[[1.5, 2.5], []])
    assert read_file(write_file(batch), LIMITS).equals(batch)
    assert read_file(write_stream(batch), LIMITS).equals(batch)
    assert read_stream(write_stream(batch)).equals(batch)
    assert read_trusted_stream(write_stream(batch)).equals(batch)


def test_bytes_and_memoryviews_are_read_too() -> None:
    batch = batch_of(x=[1, 2, 3])
    written = write_file(batch).to_pybytes()
    assert read_file(written, LIMITS).equals(batch)
    unaligned = memoryview(b"." + written)[1:]
    assert read_file(unaligned, LIMITS).equals(batch)


def test_batches_are_joined_in_order() -> None:
    parts = [batch_of(x=[1, 2]), batch_of(x=[3]), batch_of(x=[4, 5])]
    joined = read_file(file_of(*parts), LIMITS)
    assert joined.column(0).to_pylist() == [1, 2, 3, 4, 5]


def test_a_file_without_batches_has_the_columns_and_no_rows() -> None:
    schema = pa.schema([("text", pa.string()), ("tensor", pa.list_(pa.float32(), 3))])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, schema):
        pass
    batch = read_file(sink.getvalue(), LIMITS)
    assert batch.schema.equals(schema)
    assert batch.num_rows == 0


def test_numbers_are_read_without_a_copy() -> None:
    source = write_file(batch_of(x=[1.0, 2.0]))
    column = read_file(source, LIMITS).column(0)
    assert source.address <= column.buffers()[1].address < source.address + source.size


@pytest.mark.parametrize("body", [b"", b"ARROW1", b"ARROW1\0\0garbage", b"[{}]", b"\xff" * 64])
def test_what_is_no_arrow_data_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidPayloadError, match="not a valid Arrow IPC file"):
        read_file(body, LIMITS)
    with pytest.raises(InvalidPayloadError, match="not a valid Arrow IPC stream"):
        read_stream(body)
    with pytest.raises(InvalidPayloadError, match="not a valid Arrow IPC stream"):
        read_trusted_stream(body)


def test_batches_over_the_limit_are_refused() -> None:
    written = write_file(batch_of(x=[1] * 1000))
    with pytest.raises(TooLargeError) as caught:
        read_file(written, TableLimits(decoded_bytes=4000))
    assert caught.value.facts == {"what": "the decompressed Arrow body", "limit_bytes": 4000}


def test_a_small_body_that_decompresses_over_the_limit_is_refused() -> None:
    written = file_of(batch_of(x=[0] * 100_000), compression="zstd")
    assert len(written) < 10_000
    with pytest.raises(TooLargeError, match="decompressed"):
        read_file(written, TableLimits(decoded_bytes=100_000))


def test_two_columns_of_one_name_are_refused() -> None:
    batch = pa.RecordBatch.from_arrays([pa.array([1]), pa.array([2])], names=["x", "x"])
    with pytest.raises(InvalidPayloadError, match="column 'x' is there 2 times"):
        read_file(write_file(batch), LIMITS)


def test_text_that_is_no_utf8_is_refused() -> None:
    offsets, data = pa.py_buffer(b"\0\0\0\0\2\0\0\0"), pa.py_buffer(b"\xff\xfe")
    broken = pa.Array.from_buffers(pa.string(), 1, [None, offsets, data])
    batch = pa.RecordBatch.from_arrays([broken], names=["text"])
    with pytest.raises(InvalidPayloadError, match="UTF8"):
        read_file(write_file(batch), LIMITS)
    with pytest.raises(InvalidPayloadError, match="UTF8"):
        read_stream(write_stream(batch))


@pytest.mark.parametrize("compression", [None, "zstd"])
@given(st.data())
def test_damaged_files_never_give_an_invalid_batch(
    compression: str | None, data: st.DataObject
) -> None:
    batch = batch_of(text=["hello", "", None, "wörld"], tensor=[[1.0, 2.0], [3.0], None, []])
    damaged = bytearray(file_of(batch, batch, compression=compression))
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(damaged) - 1))
        damaged[position] ^= 1 << data.draw(st.integers(0, 7))
    try:
        read = read_file(bytes(damaged), LIMITS)
    except (InvalidPayloadError, TooLargeError):
        return
    read.validate(full=True)
    read.to_pylist()
