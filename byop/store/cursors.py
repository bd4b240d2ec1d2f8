"""Cursors of the inference log: where the next page starts, signed together with the query."""

import base64
import binascii
import hashlib
import hmac
import struct
from dataclasses import astuple, dataclass
from typing import NoReturn

from byop.errors import InvalidPayloadError
from byop.ports.inference_log import LogQuery

_POSITION = struct.Struct("<qqqq")
_TAG_BYTES = 16


@dataclass(frozen=True, slots=True)
class CursorPosition:
    """A stored row by its place in the order, and how many of its log rows were given already."""

    time_ms: int
    partition_id: int
    seq: int
    rows_given: int


def encode_cursor(key: bytes, query: LogQuery, position: CursorPosition) -> str:
    """Return a cursor good for ``query``, whatever its limit, and no other."""
    packed = _POSITION.pack(*astuple(position))
    return base64.urlsafe_b64encode(packed + _tag(key, query, packed)).decode().rstrip("=")


def decode_cursor(key: bytes, query: LogQuery, cursor: str) -> CursorPosition:
    """Return where the page starts.

    Raises:
        InvalidPayloadError: The cursor was changed, or was made for another query or log.
    """
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        _refuse()
    packed, tag = raw[: _POSITION.size], raw[_POSITION.size :]
    if len(raw) != _POSITION.size + _TAG_BYTES or not hmac.compare_digest(
        tag, _tag(key, query, packed)
    ):
        _refuse()
    return CursorPosition(*_POSITION.unpack(packed))


def _tag(key: bytes, query: LogQuery, packed: bytes) -> bytes:
    window = f"{query.order.value}\0{query.start_ms}\0{query.end_ms}\0{query.topic}"
    message = packed + window.encode("utf-8", "surrogatepass")
    return hmac.digest(key, message, hashlib.sha256)[:_TAG_BYTES]


def _refuse() -> NoReturn:
    raise InvalidPayloadError(
        "the cursor is not valid for this query: send it unchanged, with the pipeline, order and "
        "times that it came with, or start again without it"
    ) from None
