import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byop.engine.frames import Frame, FrameKind, FrameReader, encode_header
from byop.errors import InvalidPayloadError, TooLargeError

KINDS = st.sampled_from(FrameKind)
SMALL = st.binary(max_size=300)


def feed(reader: FrameReader, raw: bytes, step: int) -> list[Frame]:
    """Give the bytes to the reader as a socket would: no more than it has space for."""
    frames = []
    rest = memoryview(raw)
    while rest:
        space = reader.space()
        count = min(step, len(space), len(rest))
        space[:count] = rest[:count]
        rest = rest[count:]
        frames += reader.received(count)
    return frames


def encode(frame: Frame) -> bytes:
    payload = bytes(frame.payload)
    header = encode_header(
        frame.kind, len(payload), request_id=frame.request_id, nanoseconds=frame.nanoseconds
    )
    return header + payload


@given(
    st.lists(st.builds(Frame, KINDS, st.integers(0, 2**64 - 1), st.integers(0, 9), SMALL)),
    st.integers(1, 500),
)
def test_frames_come_out_as_they_went_in_however_they_are_cut(
    frames: list[Frame], step: int
) -> None:
    raw = b"".join(map(encode, frames))
    assert feed(FrameReader(), raw, step) == frames


@pytest.mark.parametrize("step", [1000, 65_536, 10**9])
@pytest.mark.parametrize("size", [0, 65_503, 65_504, 65_505, 1_000_000])
def test_large_frames_among_small_ones(size: int, step: int) -> None:
    payload = os.urandom(size)
    frames = [
        Frame(FrameKind.PING, 1, 0, b""),
        Frame(FrameKind.RESULT, 2, 5, payload),
        Frame(FrameKind.PREDICT, 3, 0, b"abc"),
        Frame(FrameKind.RESULT, 4, 5, payload),
    ]
    found = feed(FrameReader(), b"".join(map(encode, frames)), step)
    assert [frame._replace(payload=bytes(frame.payload)) for frame in found] == frames


@given(st.binary(min_size=32, max_size=200))
def test_garbage_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidPayloadError, match="no frame"):
        feed(FrameReader(), b"\x80" + raw, 10_000)


def test_unknown_kind_is_refused() -> None:
    raw = bytearray(encode_header(FrameKind.PING))
    raw[4] = 99
    with pytest.raises(InvalidPayloadError, match="unknown kind 99"):
        feed(FrameReader(), bytes(raw), 100)


def test_announced_length_over_the_limit_is_refused_before_memory_is_taken() -> None:
    raw = encode_header(FrameKind.RESULT, 2**30)
    with pytest.raises(TooLargeError):
        feed(FrameReader(max_payload_bytes=2**20), raw, 100)


def test_frame_over_the_limit_cannot_be_made() -> None:
    with pytest.raises(TooLargeError):
        encode_header(FrameKind.PREDICT, 2**31 + 1)
