"""Where a reader of the inference log goes on, signed: a page's cursor, a follower's watermark."""

import base64
import binascii
import hashlib
import hmac
import struct
import zlib
from collections.abc import Mapping
from dataclasses import astuple, dataclass

from byop.errors import InvalidPayloadError
from byop.ports.inference_log import LogQuery

_POSITION = struct.Struct("<qqqq")
_MARK = struct.Struct("<qq")
_TAG_BYTES = 16
_CURSOR_VERSION = b"2"
"""Not in the first cursors: those are refused, they cannot be followed into segments."""


@dataclass(frozen=True, slots=True)
class CursorPosition:
    """The next row to give, and where the stored row begins that it was found in."""

    time_ms: int
    partition_id: int
    seq: int
    next_seq: int


def encode_cursor(key: bytes, query: LogQuery, position: CursorPosition) -> str:
    """Return a cursor good for ``query``, whatever its limit, and no other."""
    return _seal(key, _window(query), _POSITION.pack(*astuple(position)))


def decode_cursor(key: bytes, query: LogQuery, cursor: str) -> CursorPosition:
    """Return where the page starts.

    Raises:
        InvalidPayloadError: The cursor was changed, or was made for another query or log.
    """
    packed = _open(key, _window(query), cursor)
    if packed is None or len(packed) != _POSITION.size:
        raise InvalidPayloadError(
            "the cursor is not valid for this query: send it unchanged, with the pipeline, order "
            "and times that it came with, or start again without it"
        )
    return CursorPosition(*_POSITION.unpack(packed))


def encode_watermark(key: bytes, topic: str, marks: Mapping[int, int]) -> str:
    """Return the next row number of each partition id, good for ``topic`` and no other."""
    packed = zlib.compress(b"".join(_MARK.pack(*mark) for mark in sorted(marks.items())))
    return _seal(key, _followed(topic), packed)


def decode_watermark(key: bytes, topic: str, watermark: str) -> dict[int, int]:
    """Return the next row number by partition id.

    Raises:
        InvalidPayloadError: The watermark was changed, or is of another topic or log.
    """
    packed = _open(key, _followed(topic), watermark)
    if packed is None:
        raise InvalidPayloadError(
            "the watermark is not one of this log and topic: use it unchanged where it came from"
        )
    return dict(_MARK.iter_unpack(zlib.decompress(packed)))


def _window(query: LogQuery) -> bytes:
    window = f"{query.order.value}\0{query.start_ms}\0{query.end_ms}\0{query.topic}"
    return _CURSOR_VERSION + window.encode("utf-8", "surrogatepass")


def _followed(topic: str) -> bytes:
    return b"followed\0" + topic.encode("utf-8", "surrogatepass")


def _seal(key: bytes, context: bytes, packed: bytes) -> str:
    return base64.urlsafe_b64encode(packed + _tag(key, context, packed)).decode().rstrip("=")


def _open(key: bytes, context: bytes, sealed: str) -> bytes | None:
    """Return what was sealed with this key and context; None when it was not."""
    try:
        raw = base64.b64decode(sealed + "=" * (-len(sealed) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    packed, tag = raw[:-_TAG_BYTES], raw[-_TAG_BYTES:]
    return packed if hmac.compare_digest(tag, _tag(key, context, packed)) else None


def _tag(key: bytes, context: bytes, packed: bytes) -> bytes:
    message = len(packed).to_bytes(8) + packed + context
    return hmac.digest(key, message, hashlib.sha256)[:_TAG_BYTES]
