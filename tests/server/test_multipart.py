import pytest
from hypothesis import given
from hypothesis import strategies as st

from byop.errors import InvalidPayloadError
from byop.server.multipart import MultipartReader, PartHead, PartSink, boundary_of

_BODY = (
    b"--b0\r\n"
    b'Content-Disposition: form-data; name="metadata"\r\n'
    b"Content-Type: application/json\r\n\r\n"
    b'{"name": "m"}\r\n'
    b"--b0\r\n"
    b'content-disposition: form-data; name="file"; filename="a \xc3\xa4.zip"\r\n\r\n'
    b"\r\n--b\r\nbytes\r\n\r\n"
    b"--b0--\r\n"
)


Parts = list[tuple[str, str | None, bytes]]


def _read(body: bytes, size: int, boundary: bytes = b"b0") -> Parts:
    """Return the parts of a body that comes in pieces of ``size``."""
    heads: list[tuple[PartHead, bytearray]] = []

    def open_part(head: PartHead) -> PartSink:
        heads.append((head, bytearray()))
        return heads[-1][1].extend

    reader = MultipartReader(boundary, open_part)
    for start in range(0, len(body), size):
        reader.feed(body[start : start + size])
    reader.finish()
    return [(head.name, head.file_name, bytes(content)) for head, content in heads]


@pytest.mark.parametrize("size", [1, 2, 7, 64, 10_000])
def test_parts_are_the_same_however_the_body_is_cut(size: int) -> None:
    assert _read(_BODY, size) == [
        ("metadata", None, b'{"name": "m"}'),
        ("file", "a ä.zip", b"\r\n--b\r\nbytes\r\n"),
    ]


@given(content=st.binary(max_size=200), size=st.integers(1, 50))
def test_any_bytes_come_through(content: bytes, size: int) -> None:
    boundary = b"boundary-that-is-not-inside"
    head = b'\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
    body = b"--" + boundary + head + content + b"\r\n--" + boundary + b"--\r\n"
    assert _read(body, size, boundary) == [("file", "f", content)]


def test_what_follows_the_last_boundary_is_left(caplog: pytest.LogCaptureFixture) -> None:
    assert len(_read(_BODY + b"more\r\n" * 100, 16)) == 2
    assert caplog.records == []


@pytest.mark.parametrize("end", [0, 3, 40, 120, 180, len(_BODY) - 5])
def test_a_body_that_ends_early_is_refused(end: int) -> None:
    with pytest.raises(InvalidPayloadError):
        _read(_BODY[:end], 16)


def test_a_body_with_another_boundary_is_refused() -> None:
    with pytest.raises(InvalidPayloadError):
        _read(_BODY, 64, b"other")


def test_a_part_without_a_name_is_refused() -> None:
    with pytest.raises(InvalidPayloadError, match="no name"):
        _read(_BODY.replace(b'; name="metadata"', b""), 64)


def test_a_part_with_a_header_twice_is_refused() -> None:
    line = b'Content-Disposition: form-data; name="metadata"\r\n'
    with pytest.raises(InvalidPayloadError, match="'content-disposition' twice"):
        _read(_BODY.replace(line, line * 2), 64)


@pytest.mark.parametrize("line", [b"x: " + b"y" * 100_000, b"x: y\r\n" * 1000])
def test_a_part_with_endless_headers_is_refused(line: bytes) -> None:
    with pytest.raises(InvalidPayloadError, match=r"cannot be read|twice"):
        _read(b"--b0\r\n" + line, 64)


def test_too_many_parts_are_refused() -> None:
    part = b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n1\r\n'
    assert len(_read(part * 64 + b"--b--\r\n", 64, b"b")) == 64
    with pytest.raises(InvalidPayloadError, match="more than 64 parts"):
        _read(part * 65 + b"--b--\r\n", 64, b"b")


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "application/json",
        "multipart/form-data",
        "multipart/form-data; boundary=" + "x" * 71,
    ],
)
def test_a_content_type_without_a_boundary_is_refused(header: str | None) -> None:
    with pytest.raises(InvalidPayloadError):
        boundary_of(header)


def test_a_quoted_boundary_is_read() -> None:
    assert boundary_of('multipart/form-data; boundary="a b"') == b"a b"
