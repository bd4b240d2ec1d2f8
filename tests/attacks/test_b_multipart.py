"""Group B: upload bodies of a real server. test_a_uploads.py streams 2 GiB."""

import json
import socket
from collections.abc import Iterator

import pytest
import requests

from tests.attacks.hostile_requests import Answer, Target, answer_of
from tests.fakes.servers import running_server

_PATH = "/v1/api/models/upload_and_convert"
_METADATA = json.dumps(
    {"name": "m", "workspace_id": 1, "conversion": {"framework": "custom"}}
).encode()


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with running_server(tmp_path_factory.mktemp("multipart") / "home") as server:
        yield Target(server, "", server.token())


def part(disposition: bytes, content: bytes, *more: bytes) -> bytes:
    head = b"\r\n".join((b"Content-Disposition: " + disposition, *more))
    return b"--b\r\n" + head + b"\r\n\r\n" + content + b"\r\n"


def named(name: str, content: bytes, file_name: str | None = None) -> bytes:
    file = "" if file_name is None else f'; filename="{file_name}"'
    return part(f'form-data; name="{name}"{file}'.encode(), content)


def send(target: Target, body: bytes, boundary: str = "b") -> Answer:
    content_type = f"multipart/form-data; boundary={boundary}"
    return answer_of(target.post(_PATH, body, {"Content-Type": content_type}))


META = named("metadata", _METADATA)
FILE = named("file", b"PK", "m.zip")
END = b"--b--\r\n"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(END, id="no part"),
        pytest.param(META + END, id="no file"),
        pytest.param(FILE + END, id="no metadata"),
        pytest.param(META + FILE, id="no end"),
        pytest.param(META + FILE[:-10], id="cut in a part"),
        pytest.param(META + b"--b\r\nContent-Dispo", id="cut in a header"),
        pytest.param(named("x", b"") * 1000 + META + FILE + END, id="1,000 parts"),
        pytest.param(part(b'form-data; name="x"', b"", b"x: " + b"y" * 100_000) + END,
                     id="a large header"),
        pytest.param(part(b'form-data; name="x"', b"", *[b"x: y"] * 1000) + END,
                     id="1,000 headers"),
        pytest.param(part(b"form-data", b"x") + END, id="no name"),
        pytest.param(b"--b\r\n\r\nx\r\n" + END, id="no headers"),
        pytest.param(META.replace(b"\r\n", b"\n") + END, id="bare LF"),
        pytest.param(META[:-20] + FILE + END, id="metadata cut"),
        pytest.param(named("metadata", b"[1]") + FILE + END, id="metadata no object"),
        pytest.param(named("metadata", b"\xff") + FILE + END, id="metadata no text"),
        pytest.param(named("metadata", b" " * (5 << 20)) + FILE + END, id="metadata large"),
        pytest.param(META + META + FILE + END, id="metadata twice"),
        pytest.param(META + FILE + FILE + END, id="file twice"),
    ],
)  # fmt: skip
def test_b16_broken_forms_are_refused(target: Target, body: bytes) -> None:
    answer = send(target, body)
    assert answer.status in (400, 413), answer
    assert answer.kind in ("invalid_payload", "invalid_input", "too_large"), answer
    assert list((target.server.home / "blobs").rglob("*.zip")) == []


@pytest.mark.parametrize(
    "boundary",
    ["", '""', "c", "b" * 71, "b\N{LATIN SMALL LETTER A WITH DIAERESIS}", '"b', "-" * 70],
)
def test_b16_boundaries_that_do_not_fit_are_refused(target: Target, boundary: str) -> None:
    headers: dict[str, str | bytes] = {
        "Authorization": f"Bearer {target.token}",
        "Content-Type": f"multipart/form-data; boundary={boundary}".encode("latin-1"),
    }
    response = requests.post(
        target.server.url + _PATH, data=META + FILE + END, headers=headers, timeout=30
    )
    assert response.status_code in (400, 415), response.text


def test_b16_a_form_in_single_bytes_is_read(target: Target) -> None:
    body = META + FILE + END
    head = (
        f"POST {_PATH} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {target.token}\r\n"
        f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {len(body)}\r\n"
        "Connection: close\r\n\r\n"
    )
    with socket.create_connection(target.address, timeout=30) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.sendall(head.encode())
        for position in range(len(body)):
            client.sendall(body[position : position + 1])
        answer = b"".join(iter(lambda: client.recv(65_536), b""))
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"Not a valid ZIP file" in answer
