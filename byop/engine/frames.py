"""Frames between the gateway and a worker: a fixed header, then a payload.

The header is 32 bytes, little-endian::

    4 bytes  magic ``byop``
    1 byte   kind
    3 bytes  zero
    8 bytes  payload length
    8 bytes  request id (0 where no request is meant)
    8 bytes  nanoseconds that the model took (RESULT), else 0

Both sides use this module, so it needs no more than pyarrow. A payload is Arrow IPC (PREDICT,
RESULT), JSON (READY, ERROR) or empty.
"""

import struct
from enum import IntEnum
from typing import NamedTuple, TypeAlias

import pyarrow as pa

from byop.errors import InvalidPayloadError, TooLargeError

MAX_PAYLOAD_BYTES = 2 * 1024**3
"""A longer frame is refused before memory is taken for it."""

_MAGIC = b"byop"
_HEADER = struct.Struct("<4sB3xQQQ")
_SCRATCH_BYTES = 64 * 1024

Payload: TypeAlias = bytes | memoryview | pa.Buffer


class FrameKind(IntEnum):
    """What a frame means. W: sent by workers, G: by the gateway."""

    READY = 1
    """W: the model is loaded; JSON with its schemas and slots. The first frame of a connection."""
    PREDICT = 2
    """G: predict this batch."""
    RESULT = 3
    """W: the answer to the request of that id."""
    ERROR = 4
    """W: the request of that id failed, or, with id 0, the model could not be loaded."""
    CANCEL = 5
    """G: nobody waits for the request of that id any more."""
    DRAIN = 6
    """G: finish what runs, then exit."""
    PING = 7
    """G: answer PONG with the same id."""
    PONG = 8
    """W: the answer to PING."""


class Frame(NamedTuple):
    """One received frame."""

    kind: FrameKind
    request_id: int
    nanoseconds: int
    payload: Payload


def encode_header(
    kind: FrameKind, payload_bytes: int = 0, *, request_id: int = 0, nanoseconds: int = 0
) -> bytes:
    """Return the header of a frame whose payload follows separately.

    Raises:
        TooLargeError: The payload is over the limit.
    """
    if payload_bytes > MAX_PAYLOAD_BYTES:
        raise TooLargeError("a frame", MAX_PAYLOAD_BYTES)
    return _HEADER.pack(_MAGIC, kind, payload_bytes, request_id, nanoseconds)


class FrameReader:
    """Turns received bytes into frames.

    Small frames come out of one scratch buffer; the payload of a large one is received in its
    own memory, without a copy. Use: receive into ``space()``, then pass the number of bytes
    to ``received``.
    """

    def __init__(self, *, max_payload_bytes: int = MAX_PAYLOAD_BYTES) -> None:
        self._max_payload_bytes = max_payload_bytes
        self._scratch = memoryview(bytearray(_SCRATCH_BYTES))
        self._end = 0
        self._large: _LargeFrame | None = None

    @property
    def is_inside_large_frame(self) -> bool:
        """Whether ``space()`` is exactly what is missing of one payload."""
        return self._large is not None

    def space(self) -> memoryview:
        """Return where the next bytes go; never empty."""
        if self._large is not None:
            return self._large.missing()
        return self._scratch[self._end :]

    def received(self, count: int) -> list[Frame]:
        """Return the frames that are complete with these ``count`` bytes.

        Raises:
            InvalidPayloadError: The bytes are no frames. The connection is of no use any more.
            TooLargeError: A frame is over the limit. Likewise.
        """
        large = self._large
        if large is not None:
            large.filled += count
            if large.filled < large.length:
                return []
            self._large = None
            return [large.finish()]
        self._end += count
        return self._parse()

    def _parse(self) -> list[Frame]:
        frames: list[Frame] = []
        start = 0
        while self._end - start >= _HEADER.size:
            kind, length, request_id, nanoseconds = self._parse_header(start)
            begin = start + _HEADER.size
            stop = begin + length
            if stop > self._end:
                if _HEADER.size + length > _SCRATCH_BYTES:
                    part = self._scratch[begin : self._end]
                    self._large = _LargeFrame(kind, request_id, nanoseconds, length, part)
                    start = self._end
                break
            frames.append(Frame(kind, request_id, nanoseconds, self._scratch[begin:stop].tobytes()))
            start = stop
        self._keep_from(start)
        return frames

    def _keep_from(self, start: int) -> None:
        rest = self._end - start
        if start and rest:
            self._scratch[:rest] = self._scratch[start : self._end].tobytes()
        self._end = rest

    def _parse_header(self, start: int) -> tuple[FrameKind, int, int, int]:
        magic, kind, length, request_id, nanoseconds = _HEADER.unpack_from(self._scratch, start)
        if magic != _MAGIC:
            raise InvalidPayloadError("the peer sent something that is no frame")
        try:
            known = FrameKind(kind)
        except ValueError:
            raise InvalidPayloadError(f"the peer sent a frame of unknown kind {kind}") from None
        if length > self._max_payload_bytes:
            raise TooLargeError("a frame", self._max_payload_bytes)
        return known, length, request_id, nanoseconds


class _LargeFrame:
    """A frame whose payload is being received in memory of its own."""

    def __init__(
        self, kind: FrameKind, request_id: int, nanoseconds: int, length: int, part: memoryview
    ) -> None:
        self.length = length
        self.filled = len(part)
        self._head = (kind, request_id, nanoseconds)
        self._buffer = pa.allocate_buffer(length)
        self._view = memoryview(self._buffer).cast("B")
        self._view[: self.filled] = part

    def missing(self) -> memoryview:
        """Return the part that is not there yet."""
        return self._view[self.filled :]

    def finish(self) -> Frame:
        """Return the complete frame."""
        self._view.release()
        kind, request_id, nanoseconds = self._head
        return Frame(kind, request_id, nanoseconds, self._buffer)
