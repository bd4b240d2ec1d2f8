"""Multipart bodies, read part by part from an iterator of chunks, whatever their size.

Synchronous on purpose: an upload is read by the thread that stores it, so the parts come in plain
loops and a slow disk slows the client down.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from byop.errors import InvalidPayloadError, TooLargeError

_MAX_PARTS = 64
_LONGEST_BOUNDARY = 70
"""RFC 2046 section 5.1.1."""


@dataclass(frozen=True, slots=True)
class Part:
    """One part. ``chunks`` must be used up before the next part is asked for."""

    name: str
    file_name: str | None
    chunks: Iterator[bytes]

    def read(self, limit_bytes: int) -> bytes:
        """Return the whole part.

        Raises:
            TooLargeError: It is larger than the limit.
        """
        kept = bytearray()
        for chunk in self.chunks:
            kept += chunk
            if len(kept) > limit_bytes:
                raise TooLargeError(f"part {self.name!r}", limit_bytes)
        return bytes(kept)


def boundary_of(content_type: str | None) -> bytes:
    """Return the boundary that a multipart Content-Type names.

    Raises:
        InvalidPayloadError: It is no multipart/form-data with a boundary.
    """
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary or len(boundary) > _LONGEST_BOUNDARY:
        raise InvalidPayloadError(
            "Content-Type must be multipart/form-data with a boundary: send parts metadata and file"
        )
    return boundary


def read_parts(chunks: Iterator[bytes], boundary: bytes) -> Iterator[Part]:
    """Yield the parts of a multipart body. What a caller leaves of a part is skipped.

    Raises:
        InvalidPayloadError: The body is no multipart body, ends early or has too many parts.
    """
    events = _Events(chunks, boundary)
    for _ in range(_MAX_PARTS):
        headers = events.next_headers()
        if headers is None:
            return
        _, options = parse_options_header(headers.get(b"content-disposition"))
        name = options.get(b"name")
        if name is None:
            raise InvalidPayloadError("a part has no name")
        file_name = options.get(b"filename")
        yield Part(
            name=name.decode("utf-8", "replace"),
            file_name=None if file_name is None else file_name.decode("utf-8", "replace"),
            chunks=events.part_chunks(),
        )
        for _skipped in events.part_chunks():
            pass
    raise InvalidPayloadError(f"the body has more than {_MAX_PARTS} parts")


_Headers = dict[bytes, bytes]


class _PartEnd:
    """The end of a part."""


class _Events:
    """Turns the parser's callbacks into a queue of headers, data and part ends."""

    def __init__(self, chunks: Iterator[bytes], boundary: bytes) -> None:
        self._chunks = chunks
        self._queue: deque[_Headers | bytes | _PartEnd] = deque()
        self._headers: _Headers = {}
        self._field = b""
        self._value = b""
        self._in_part = False
        self._is_complete = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin_part,
                "on_header_field": self._add_field,
                "on_header_value": self._add_value,
                "on_header_end": self._end_header,
                "on_headers_finished": self._end_headers,
                "on_part_data": self._add_data,
                "on_part_end": self._end_part,
                "on_end": self._complete,
            },
        )

    def next_headers(self) -> _Headers | None:
        """Return the next part's headers with lower-case names, None at the end of the body."""
        event = self._next()
        if event is None:
            return None
        assert isinstance(event, dict)  # noqa: S101 - parts were used up, so headers come next
        self._in_part = True
        return event

    def part_chunks(self) -> Iterator[bytes]:
        """Yield the rest of the current part."""
        while self._in_part:
            event = self._next()
            if isinstance(event, bytes):
                yield event
            else:
                self._in_part = False

    def _next(self) -> _Headers | bytes | _PartEnd | None:
        while not self._queue:
            chunk = next(self._chunks, None)
            if chunk is None:
                if not self._is_complete:
                    raise InvalidPayloadError("the multipart body ends before its last boundary")
                return None
            self._feed(chunk)
        return self._queue.popleft()

    def _feed(self, chunk: bytes) -> None:
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise InvalidPayloadError(f"the multipart body cannot be read: {error}") from error

    def _begin_part(self) -> None:
        self._headers = {}

    def _add_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        self._headers[self._field.lower()] = self._value
        self._field = self._value = b""

    def _end_headers(self) -> None:
        self._queue.append(self._headers)

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        self._queue.append(data[start:end])

    def _end_part(self) -> None:
        self._queue.append(_PartEnd())

    def _complete(self) -> None:
        self._is_complete = True
