from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byop.errors import InvalidPayloadError, TooLargeError
from byop.server.multipart import boundary_of, read_parts

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


def _cut(body: bytes, size: int) -> Iterator[bytes]:
    return (body[start : start + size] for start in range(0, len(body), size))


@pytest.mark.parametrize("size", [1, 2, 7, 64, 10_000])
def test_parts_are_the_same_however_the_body_is_cut(size: int) -> None:
    parts = [(p.name, p.file_name, p.read(1000)) for p in read_parts(_cut(_BODY, size), b"b0")]
    assert parts == [
        ("metadata", None, b'{"name": "m"}'),
        ("file", "a ä.zip", b"\r\n--b\r\nbytes\r\n"),
    ]


@given(content=st.binary(max_size=200), size=st.integers(1, 50))
def test_any_bytes_come_through(content: bytes, size: int) -> None:
    boundary = b"boundary-that-is-not-inside"
    head = b'\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
    body = b"--" + boundary + head + content + b"\r\n--" + boundary + b"--\r\n"
    assert [p.read(1000) for p in read_parts(_cut(body, size), boundary)] == [content]


def test_what_is_left_of_a_part_is_skipped() -> None:
    assert [part.name for part in read_parts(_cut(_BODY, 5), b"b0")] == ["metadata", "file"]


@pytest.mark.parametrize("end", [0, 3, 40, 120, 180, len(_BODY) - 5])
def test_a_body_that_ends_early_is_refused(end: int) -> None:
    with pytest.raises(InvalidPayloadError):
        [part.read(1000) for part in read_parts(_cut(_BODY[:end], 16), b"b0")]


def test_a_body_with_another_boundary_is_refused() -> None:
    with pytest.raises(InvalidPayloadError):
        list(read_parts(_cut(_BODY, 64), b"other"))


def test_a_part_without_a_name_is_refused() -> None:
    body = _BODY.replace(b'; name="metadata"', b"")
    with pytest.raises(InvalidPayloadError, match="no name"):
        list(read_parts(_cut(body, 64), b"b0"))


def test_too_many_parts_are_refused() -> None:
    part = b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n1\r\n'
    with pytest.raises(InvalidPayloadError, match="more than 64 parts"):
        list(read_parts(iter([part * 65 + b"--b--\r\n"]), b"b"))


def test_reading_a_part_stops_at_the_limit() -> None:
    part = next(read_parts(_cut(_BODY, 4), b"b0"))
    with pytest.raises(TooLargeError):
        part.read(5)


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
