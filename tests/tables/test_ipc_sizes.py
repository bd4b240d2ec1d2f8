from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from byop.errors import InvalidPayloadError, TooLargeError
from byop.tables.ipc_sizes import require_decodable
from tests.tables.arrow_strategies import batches

WRITERS = st.sampled_from([pa.ipc.new_file, pa.ipc.new_stream])
OBJECTS = 8192
"""What batches and buffers count for as objects, at most, in the cases here with one column."""


def written(
    batch: pa.RecordBatch, new: Callable[..., Any], codec: str | None, copies: int = 1
) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    with new(sink, batch.schema, options=pa.ipc.IpcWriteOptions(compression=codec)) as writer:
        for _ in range(copies):
            writer.write_batch(batch)
    return sink.getvalue()


@given(batches(), WRITERS, st.sampled_from([None, "zstd", "lz4"]))
def test_what_a_small_batch_takes_is_little(
    batch: pa.RecordBatch, new: Callable[..., Any], codec: str | None
) -> None:
    require_decodable(written(batch, new, codec), max_bytes=1 << 20)


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
@pytest.mark.parametrize("new", [pa.ipc.new_file, pa.ipc.new_stream])
def test_every_batch_counts_with_what_it_decompresses_to(
    new: Callable[..., Any], codec: str
) -> None:
    batch = pa.record_batch({"x": pa.array([7] * 100_000)})
    source = written(batch, new, codec, copies=3)
    require_decodable(source, max_bytes=3 * batch.nbytes + OBJECTS)
    with pytest.raises(TooLargeError, match="decompressed"):
        require_decodable(source, max_bytes=3 * batch.nbytes - 1)


def test_a_dictionary_counts_too() -> None:
    words = pa.array([f"{n:05}" * 20 for n in range(1000)])
    batch = pa.record_batch([words.dictionary_encode()], ["x"])
    for new in (pa.ipc.new_file, pa.ipc.new_stream):
        with pytest.raises(TooLargeError):
            require_decodable(written(batch, new, "zstd"), max_bytes=words.nbytes)


@pytest.mark.parametrize("new", [pa.ipc.new_file, pa.ipc.new_stream])
def test_buffers_that_are_not_compressed_count_with_their_length(new: Callable[..., Any]) -> None:
    batch = pa.record_batch({"x": pa.array([7] * 100_000)})
    source = written(batch, new, None, copies=3)
    require_decodable(source, max_bytes=3 * batch.nbytes + OBJECTS)
    with pytest.raises(TooLargeError, match="decompressed"):
        require_decodable(source, max_bytes=3 * batch.nbytes - 1)


@given(st.binary(max_size=300), st.booleans())
def test_noise_is_refused_or_holds_nothing(noise: bytes, is_file: bool) -> None:
    data = b"ARROW1\0\0" + noise + b"ARROW1" if is_file else noise
    try:
        require_decodable(pa.py_buffer(data), max_bytes=1 << 20)
    except (InvalidPayloadError, TooLargeError):
        return
