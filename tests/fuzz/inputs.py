"""Strategies: what parsers are fed. Good inputs, damaged here and there."""

import json
import struct
from collections.abc import Callable
from functools import cache
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

from byop.engine.frames import FrameKind, encode_header
from byop.tables.ipc import write_stream

_NUMBERS = [0, 1, 2, 3, 4, 8, 63, 64, 65, 127, 128, 255, 2**15, 2**16 - 1, 2**24]
_EDGES = [-1, -2, 2**31 - 1, -(2**31), 2**32 - 1, 2**40, 2**62, 2**63 - 1, -(2**63)]
_FRAGMENTS = [
    *('"', "\\", "\\u", "\\ud800", "NaN", "Infinity", "-", "1e400", "9" * 400, "9" * 5000, "\x00"),
    *("{", "}", "[", "]", "[[", "]]", ",", ":", "null", "true", "1.5", "\ufeff", "\N{SNOWMAN}"),
    *('"text"', '"id"', '"tensor"', '"nested"', '{"text":', "[" * 100, "]" * 100, "[" * 2000),
]


def damaged(originals: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Mostly small damages: bytes, numbers at aligned places, cuts, pieces twice."""
    damage = st.one_of(
        st.tuples(st.just("byte"), st.floats(0, 1), st.integers(0, 255)),
        st.tuples(st.just("number"), st.floats(0, 1), st.sampled_from(_NUMBERS + _EDGES)),
        st.tuples(st.just("cut"), st.floats(0, 1), st.integers(1, 64)),
        st.tuples(st.just("twice"), st.floats(0, 1), st.integers(1, 64)),
        st.tuples(st.just("end"), st.floats(0, 1), st.just(0)),
    )
    return st.builds(_damage, originals, st.lists(damage, max_size=5))


def arrow_bodies() -> st.SearchStrategy[bytes]:
    """Files and streams of every type, compressed or not, damaged; and noise."""
    noise = st.binary(max_size=200)
    return st.one_of(
        damaged(st.sampled_from(_arrow_corpus())),
        damaged(st.sampled_from(_arrow_corpus())),
        noise,
        noise.map(lambda data: b"ARROW1\0\0" + data + b"ARROW1"),
    )


def json_bodies() -> st.SearchStrategy[bytes]:
    """Records that fit nearly, any JSON, and text that only looks like it."""
    values = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_names(), inner, max_size=4),
        max_leaves=12,
    )
    nearly = st.fixed_dictionaries(
        {
            "text": st.none() | st.text(max_size=5) | values,
            "id": st.integers(-(2**64), 2**65) | values,
            "tensor": st.lists(st.floats(), min_size=1, max_size=3) | values,
            "nested": st.fixed_dictionaries({"at": st.integers() | values, "raw": values}),
        }
    )
    whole = (st.lists(nearly, max_size=4) | values).map(_dumped)
    pieces = st.lists(st.sampled_from(_FRAGMENTS), max_size=30).map("".join)
    return st.one_of(
        whole, damaged(whole), pieces.map(lambda text: text.encode(errors="surrogatepass"))
    )


def frame_bytes() -> st.SearchStrategy[bytes]:
    """A step, then frames, damaged."""
    payload = st.one_of(
        st.binary(max_size=40),
        st.integers(60_000, 140_000).map(bytes),
        damaged(st.sampled_from(_arrow_corpus())),
    )
    frame = st.builds(_frame, st.sampled_from(FrameKind), payload, st.integers(0, 2**64 - 1))
    stream = st.lists(frame, max_size=5).map(b"".join)
    step = st.binary(min_size=1, max_size=1)
    return st.builds(bytes.__add__, step, damaged(stream) | stream | st.binary(max_size=100))


def _damage(original: bytes, damages: list[tuple[str, float, int]]) -> bytes:
    data = bytearray(original)
    for kind, where, value in damages:
        at = int(where * max(len(data) - 1, 0))
        match kind:
            case "byte" if data:
                data[at] = value
            case "number":
                at -= at % 4
                width = "<i" if -(2**31) <= value < 2**31 else "<q"
                packed = struct.pack(width, value)
                data[at : at + len(packed)] = packed
            case "cut":
                del data[at : at + value]
            case "twice":
                data[at:at] = data[at : at + value]
            case _:
                del data[at:]
    return bytes(data)


def _names() -> st.SearchStrategy[str]:
    return st.sampled_from(["text", "id", "tensor", "nested", "at", "raw", ""]) | st.text(
        max_size=3
    )


def _dumped(value: object) -> bytes:
    return json.dumps(value).encode()


def _frame(kind: FrameKind, payload: bytes, request_id: int) -> bytes:
    return encode_header(kind, len(payload), request_id=request_id) + payload


@cache
def _arrow_corpus() -> list[bytes]:
    bodies: list[bytes] = []
    for column in _columns():
        others = pa.array([1] * len(column))
        batch = pa.RecordBatch.from_arrays([column, others], ["text", "id"])
        bodies.append(bytes(write_stream(batch)))
        bodies += [
            _written(batch, new, codec)
            for new in (pa.ipc.new_file, pa.ipc.new_stream)
            for codec in (None, "zstd", "lz4")
        ]
    return bodies


def _written(batch: pa.RecordBatch, new: Callable[..., Any], codec: str | None) -> bytes:
    sink = pa.BufferOutputStream()
    with new(sink, batch.schema, options=pa.ipc.IpcWriteOptions(compression=codec)) as writer:
        writer.write_batch(batch)
        writer.write_batch(batch)
    return bytes(sink.getvalue())


def _columns() -> list[pa.Array]:
    texts = pa.array(["hello", None, "a text that is no longer short", ""])
    return [
        texts,
        texts.cast(pa.large_string()),
        texts.cast(pa.string_view()),
        texts.cast(pa.binary_view()),
        texts.dictionary_encode(),
        texts.cast(pa.string_view()).dictionary_encode(),
        pa.array([1.5, None, 3.0, 4.0]).dictionary_encode(),
        pa.array([True, None, False, True]),
        pa.nulls(4),
        pa.array([[1.0, 2.0], None, [], [3.0]], pa.list_(pa.float32())),
        pa.array([[1.0, 2.0], None, [3.0, None], [5.0, 6.0]], pa.list_(pa.float32(), 2)),
        pa.array([["a"], None, [], [None]], pa.large_list(pa.string_view())),
        pa.array([[None], None, [], [None, None]], pa.list_(pa.null())),
        pa.array([["a"], ["b", "c"], [], None], pa.list_view(pa.string())),
        pa.array([{"at": 1, "raw": b"x"}, None, {"at": None, "raw": None}, {"at": 2, "raw": b""}]),
        pa.array([[("k", 1)], None, [], [("l", None)]], pa.map_(pa.string(), pa.int8())),
        pa.array([1, None, 3, 4], pa.decimal128(9, 2)),
        pa.array([1, None, 3, 4], pa.timestamp("ns", "Europe/Zurich")),
        pa.array([b"abcd", None, b"efgh", b"ijkl"], pa.binary(4)),
        pa.array([b"", None, b"", b""], pa.binary(0)),
        pa.array([0, None, 2, 3], pa.date32()),
        pa.FixedShapeTensorArray.from_numpy_ndarray(
            pa.array(range(16)).to_numpy().reshape(4, 2, 2)
        ),
        pa.RunEndEncodedArray.from_arrays(pa.array([3, 4], pa.int32()), pa.array(["a", None])),
        pa.UnionArray.from_sparse(
            pa.array([0, 1, 0, 1], pa.int8()), [texts, pa.array([1, 2, 3, 4])]
        ),
    ]
