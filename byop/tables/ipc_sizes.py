"""What Arrow IPC bytes will take when they are decoded, told by their metadata alone.

A buffer that is compressed begins with its size: 12 KB can stand for 400 MB, which Arrow allocates
and fills before anybody could count it. The few flatbuffers fields that lead there are read by
hand. Sources: format/Message.fbs and File.fbs of Apache Arrow, and cpp/src/arrow/ipc/reader.cc for
what the reader makes of them, read 2026-11-21. Runs in workers too: standard library and pyarrow.
"""

import struct
from collections.abc import Iterator

import pyarrow as pa

from byop.errors import InvalidPayloadError, TooLargeError

FILE_MAGIC = b"ARROW1"

_BATCH_BYTES = 1024
_BUFFER_BYTES = 256
"""What a batch and each of its buffers take as objects, about: millions of them fit a body."""

_DICTIONARY_BATCH = 2
_RECORD_BATCH = 3
_OLD_COMPRESSION = b"ARROW:experimental_compression"
_CONTINUATION = 0xFFFFFFFF

_U16 = struct.Struct("<H").unpack_from
_U32 = struct.Struct("<I").unpack_from
_I32 = struct.Struct("<i").unpack_from
_I64 = struct.Struct("<q").unpack_from
_BLOCK = struct.Struct("<qi4xq")
_BUFFER = struct.Struct("<qq")
_SECOND, _THIRD, _FOURTH, _FIFTH = 6, 8, 10, 12
"""Where the entries of a table's fields stand in its vtable."""


def require_decodable(source: pa.Buffer, *, max_bytes: int, is_compressible: bool = True) -> int:
    """Return what the batches of an Arrow file or stream take, at most ``max_bytes``.

    Buffers count each by itself: two of them may be the same bytes of the body.

    Raises:
        TooLargeError: They take more.
        InvalidPayloadError: The metadata cannot be followed.
    """
    data = memoryview(source).cast("B")
    total = 0
    try:
        for start, body in _messages(data):
            total += _message_bytes(data, start, body, is_compressible=is_compressible)
            if total > max_bytes:
                raise TooLargeError("the decompressed Arrow body", max_bytes)
    except (struct.error, IndexError) as error:
        raise InvalidPayloadError(f"not a valid Arrow IPC file: {error}") from error
    return total


def _messages(data: memoryview) -> Iterator[tuple[int, int]]:
    """Yield where each message's table and its body begin."""
    if data[: len(FILE_MAGIC)] == FILE_MAGIC:
        return _file_messages(data)
    return _stream_messages(data)


def _file_messages(data: memoryview) -> Iterator[tuple[int, int]]:
    end = len(data) - len(FILE_MAGIC) - 4
    footer = end - _I32(data, end)[0]
    root = footer + _U32(data, footer)[0]
    for slot in (_THIRD, _FOURTH):
        where = _field(data, root, slot)
        if not where:
            continue
        first, count = _vector(data, where)
        for offset, metadata_bytes, _ in _BLOCK.iter_unpack(
            data[first : first + count * _BLOCK.size]
        ):
            prefix = 8 if _U32(data, offset)[0] == _CONTINUATION else 4
            yield offset + prefix, offset + metadata_bytes


def _stream_messages(data: memoryview) -> Iterator[tuple[int, int]]:
    position = 0
    while position < len(data):
        length = _U32(data, position)[0]
        position += 4
        if length == _CONTINUATION:
            length = _U32(data, position)[0]
            position += 4
        if length == 0:
            return
        body = position + length
        yield position, body
        root = position + _U32(data, position)[0]
        where = _field(data, root, _FOURTH)
        body_bytes = _I64(data, where)[0] if where else 0
        if body_bytes < 0:
            raise struct.error("a message is shorter than nothing")
        position = body + body_bytes


def _message_bytes(data: memoryview, start: int, body: int, *, is_compressible: bool) -> int:
    """Return what one message takes when it is decoded, beyond the bytes themselves."""
    root = start + _U32(data, start)[0]
    kind = _field(data, root, _SECOND)
    if not kind or data[kind] not in (_DICTIONARY_BATCH, _RECORD_BATCH):
        return 0
    if _field(data, root, _FIFTH) and _OLD_COMPRESSION in bytes(data[start:body]):
        raise InvalidPayloadError(
            "the Arrow body is compressed as before Arrow 1.0: write it with a newer version"
        )
    header = _field(data, root, _THIRD)
    batch = header + _U32(data, header)[0]
    if data[kind] == _DICTIONARY_BATCH:
        inner = _field(data, batch, _SECOND)
        batch = inner + _U32(data, inner)[0]
    where = _field(data, batch, _THIRD)
    if not where:
        return _BATCH_BYTES
    first, count = _vector(data, where)
    total = _BATCH_BYTES + _BUFFER_BYTES * count
    is_compressed = _field(data, batch, _FOURTH)
    if is_compressed and not is_compressible:
        raise InvalidPayloadError("the Arrow body is compressed, which is not read here")
    for offset, length in _BUFFER.iter_unpack(data[first : first + count * _BUFFER.size]):
        if length > 0:
            declared = _I64(data, body + offset)[0] if is_compressed else -1
            # -1 says that this buffer is not compressed; less is an error that Arrow tells.
            total += declared if declared >= 0 else length
    return total


def _field(data: memoryview, table: int, slot: int) -> int:
    """Return where a field of a flatbuffers table stands, 0 when it has its default."""
    entries = table - _I32(data, table)[0]
    if slot >= _U16(data, entries)[0]:
        return 0
    offset: int = _U16(data, entries + slot)[0]
    return table + offset if offset else 0


def _vector(data: memoryview, where: int) -> tuple[int, int]:
    """Return where the elements of a vector begin, and their number."""
    vector = where + _U32(data, where)[0]
    return vector + 4, _U32(data, vector)[0]
