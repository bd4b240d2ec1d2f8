"""Multipart bodies of any size: pieces go in, the parts' bytes come out as they pass."""

from collections.abc import Callable
from dataclasses import dataclass

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from byop.errors import InvalidPayloadError

_MAX_PARTS = 64
_LONGEST_BOUNDARY = 70
"""RFC 2046 section 5.1.1."""


@dataclass(frozen=True, slots=True)
class PartHead:
    """What a part says of itself."""

    name: str
    file_name: str | None


PartSink = Callable[[bytes], None]
"""Takes the bytes of one part, piece by piece."""


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


class MultipartReader:
    """Takes a multipart body in pieces of any size and hands out its parts.

    ``open_part`` is called at the head of each part and returns where the part's bytes go. What it
    and the sinks raise passes through ``feed``.
    """

    def __init__(self, boundary: bytes, open_part: Callable[[PartHead], PartSink]) -> None:
        self._open_part = open_part
        self._sink: PartSink | None = None
        self._parts = 0
        self._headers: dict[bytes, bytes] = {}
        self._field = bytearray()
        self._value = bytearray()
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
                "on_end": self._complete,
            },
        )

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the body.

        Raises:
            InvalidPayloadError: The body is no multipart body, or has too many parts.
        """
        if self._is_complete:
            return  # RFC 2046: what follows the last boundary has no meaning
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise InvalidPayloadError(f"the multipart body cannot be read: {error}") from error

    def finish(self) -> None:
        """Make sure that the body was whole.

        Raises:
            InvalidPayloadError: It ended early.
        """
        if not self._is_complete:
            raise InvalidPayloadError("the multipart body ends before its last boundary")

    def _begin_part(self) -> None:
        self._parts += 1
        if self._parts > _MAX_PARTS:
            raise InvalidPayloadError(f"the body has more than {_MAX_PARTS} parts")
        self._headers = {}
        self._sink = None

    def _add_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        name = bytes(self._field).lower()
        if name in self._headers:
            raise InvalidPayloadError(f"a part has the header {_text(name)[:80]!r} twice")
        self._headers[name] = bytes(self._value)
        self._field.clear()
        self._value.clear()

    def _end_headers(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition"))
        name, file_name = options.get(b"name"), options.get(b"filename")
        if name is None:
            raise InvalidPayloadError("a part has no name")
        head = PartHead(_text(name), None if file_name is None else _text(file_name))
        self._sink = self._open_part(head)

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        if self._sink is not None:
            self._sink(data[start:end])

    def _complete(self) -> None:
        self._is_complete = True


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
