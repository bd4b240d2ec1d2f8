"""Requests byte by byte, to what uvicorn and httptools let through."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from functools import partial
from urllib.parse import urlsplit

import psutil
import pyarrow as pa
import pytest

from byop.domain.inferences import InferenceRecord
from byop.server.app import create_app
from byop.server.http_guard import allowed_hosts
from byop.services.routes import InferenceRoute
from byop.settings import Settings
from tests.fakes.services import USER_TOKEN, FakeServices, record_of
from tests.server.conftest import INFER_PATH, Api, Server

_GOOD = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
_HEAD = b"POST /v1/api/workspaces/list HTTP/1.1\r\nHost: localhost\r\n"
_HANGS_S = 20.0


def address_of(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return str(parts.hostname), int(parts.port or 0)


def read_answer(client: socket.socket) -> tuple[int, bytes]:
    """Return status and body; (0, b"") when the server closed without a word."""
    received = b""
    while b"\r\n\r\n" not in received:
        piece = client.recv(65_536)
        if not piece:
            return 0, received
        received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length:")[1].split()[0])
    while len(body) < length:
        body += client.recv(65_536)
    return int(head.split()[1]), body


def sent(api: Api, request: bytes) -> tuple[int, bytes]:
    with socket.create_connection(address_of(api.url), timeout=_HANGS_S) as client:
        client.sendall(request)
        return read_answer(client)


def headers(count: int) -> bytes:
    return b"".join(b"x-%d: y\r\n" % n for n in range(count))


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        pytest.param(_GOOD, 200, id="good"),
        pytest.param(b"GET /health HTTP/1.1\r\n\r\n", 400, id="no host"),
        pytest.param(b"GET /health HTTP/1.0\r\n\r\n", 400, id="no host, HTTP/1.0"),
        pytest.param(_GOOD[:-2] + b"Host: localhost\r\n\r\n", 400, id="two hosts"),
        pytest.param(b"GET /health HTTP/1.1\r\nHost: \r\n\r\n", 400, id="empty host"),
        pytest.param(b"GET /health HTTP/1.1\r\nHost: a/b\r\n\r\n", 400, id="host with path"),
        pytest.param(b"GET /health HTTP/1.1\r\nHost: a@b\r\n\r\n", 400, id="host with user"),
        pytest.param(b"GET /health HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421, id="rebinding"),
        pytest.param(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1.evil\r\n\r\n", 421, id="likeness"),
        pytest.param(b"GET http://evil.example/health HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421,
                     id="absolute form"),
        pytest.param(_GOOD[:-2] + headers(99) + b"\r\n", 200, id="100 headers"),
        pytest.param(_GOOD[:-2] + headers(100) + b"\r\n", 431, id="101 headers"),
        pytest.param(_GOOD[:-2] + headers(2000) + b"\r\n", 431, id="2,000 headers"),
        pytest.param(_GOOD[:-2] + b"x: " + b"y" * 33_000 + b"\r\n\r\n", 431, id="a large header"),
        pytest.param(_GOOD[:-2] + (b"x: " + b"y" * 4000 + b"\r\n") * 9 + b"\r\n", 431,
                     id="one header again and again"),
        pytest.param(b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 414,
                     id="a long path"),
        pytest.param(b"GET /health?" + b"a" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 414,
                     id="a long query"),
        pytest.param(_HEAD + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", 400,
                     id="two lengths, equal"),
        pytest.param(_HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} ", 400,
                     id="two lengths"),
        pytest.param(_HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                     400, id="length and chunks"),
        pytest.param(_HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"
                     b"0\r\n\r\n", 400, id="chunks twice"),
        pytest.param(_HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400,
                     id="strange chunks"),
        pytest.param(_HEAD + b"Content-Length: +2\r\n\r\n{}", 400, id="signed length"),
        pytest.param(_HEAD + b"Content-Length : 2\r\n\r\n{}", 400, id="space before the colon"),
        pytest.param(_HEAD + b"x: a\r\n b\r\nContent-Length: 2\r\n\r\n{}", 400, id="folded header"),
        pytest.param(_HEAD + b"x: a\x00b\r\nContent-Length: 2\r\n\r\n{}", 400, id="NUL"),
        pytest.param(_GOOD.replace(b"\r\n", b"\n"), 400, id="bare LF"),
        pytest.param(_HEAD + b"Authorization: Bearer a\r\nAuthorization: Bearer b\r\n"
                     b"Content-Length: 2\r\n\r\n{}", 400, id="two tokens"),
        pytest.param(_HEAD + b"Content-Type: application/json\r\nContent-Type: text/plain\r\n"
                     b"Content-Length: 2\r\n\r\n{}", 400, id="two content types"),
        pytest.param(_HEAD + b"Content-Encoding: gzip\r\nContent-Encoding: identity\r\n"
                     b"Content-Length: 2\r\n\r\n{}", 400, id="two codings"),
        pytest.param(b"TRACE /health HTTP/1.1\r\nHost: localhost\r\n\r\n", 405, id="TRACE"),
        pytest.param(b"CONNECT localhost:1 HTTP/1.1\r\nHost: localhost:1\r\n\r\n", 400,
                     id="CONNECT"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, id="HTTP/2"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, id="TLS"),
        pytest.param(b"{}" * 10 + b"\r\n\r\n", 400, id="no HTTP"),
    ],
)  # fmt: skip
def test_requests_that_could_be_read_in_two_ways_are_refused(
    api: Api, request_bytes: bytes, status: int
) -> None:
    assert sent(api, request_bytes)[0] == status
    assert sent(api, _GOOD)[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        *("/%2e%2e/health", "/a/../health", "/./health", "//health", "/health//", "/health;a=b"),
        *("/health%00", "/v1/api%2fworkspaces/list", "/a\\b", "/%5chealth", "/%25", "/%zz", "/%"),
        *("/%c0%ae/health", "/%E2%80%A8", "/..", "/health/."),
    ],
)
def test_paths_that_a_proxy_may_read_otherwise_are_refused(api: Api, path: str) -> None:
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    status, body = sent(api, request)
    assert status == 400
    assert json.loads(body)["type"] == "request_refused"


def test_a_slash_at_the_end_is_another_path_and_no_redirect(api: Api) -> None:
    request = b"POST /v1/api/workspaces/list/ HTTP/1.1\r\nHost: localhost\r\nAuthorization: "
    request += f"Bearer {USER_TOKEN}".encode() + b"\r\nContent-Length: 2\r\n\r\n{}"
    assert sent(api, request)[0] == 404


def test_a_refused_request_ends_its_connection(api: Api) -> None:
    hidden = b"POST /health HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 0\r\n\r\n" + _GOOD
    with socket.create_connection(address_of(api.url), timeout=_HANGS_S) as client:
        client.sendall(hidden)
        assert read_answer(client)[0] == 421
        assert client.recv(1) == b""


def test_fields_behind_a_chunked_body_are_no_headers(api: Api) -> None:
    rows = json.dumps([{"tensor": [1.0, 2.0], "name": "a"}]).encode()
    body = b"%x\r\n%b\r\n0\r\nX-Request-Id: trailer\r\nAuthorization: Bearer %b\r\n\r\n" % (
        len(rows),
        rows,
        USER_TOKEN.encode(),
    )
    head = f"POST {INFER_PATH} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert sent(api, head.encode() + body)[0] == 401


@pytest.fixture(scope="module")
def impatient(settings: Settings) -> Iterator[str]:
    fakes = FakeServices()
    hurried = Settings(home=settings.home, header_timeout_s=0.4, body_idle_s=0.4)
    app = create_app(
        fakes.wired(),
        settings=hurried,
        open=fakes.open,
        close=fakes.close,
        check_ready=fakes.check_ready,
    )
    server = Server(app, hurried)
    yield server.start()
    server.stop()


def infer_head(length: int) -> bytes:
    return (
        f"POST {INFER_PATH} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {USER_TOKEN}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


@pytest.mark.parametrize(
    "begun",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"GET /health HTTP/1.1\r\nHost: loc", id="half a head"),
        pytest.param(infer_head(100) + b"[", id="half a body"),
        pytest.param(_GOOD + b"GET /", id="half a second head"),
    ],
)
def test_a_client_that_stands_still_is_sent_away(impatient: str, begun: bytes) -> None:
    with socket.create_connection(address_of(impatient), timeout=_HANGS_S) as client:
        client.sendall(begun)
        if begun.startswith(_GOOD):
            assert read_answer(client)[0] == 200
        assert read_answer(client)[0] == 408
        assert client.recv(1) == b""


def test_a_head_that_drips_is_not_slow_enough_to_live_for_ever(impatient: str) -> None:
    ends = time.monotonic() + _HANGS_S
    with socket.create_connection(address_of(impatient), timeout=0.05) as client:
        client.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n")
        answer = b""
        while not answer:
            assert time.monotonic() < ends
            client.sendall(b"x: y\r\n")
            try:
                answer = client.recv(65_536)
            except TimeoutError:
                continue
        assert answer.startswith(b"HTTP/1.1 408")


def test_a_body_that_comes_slowly_is_waited_for(impatient: str) -> None:
    rows = json.dumps([{"tensor": [1.0, 2.0], "name": "a"}]).encode()
    with socket.create_connection(address_of(impatient), timeout=0.1) as client:
        client.sendall(infer_head(len(rows)))
        for start in range(0, len(rows), 6):
            client.sendall(rows[start : start + 6])
            with pytest.raises(TimeoutError):
                client.recv(1)
            if start > len(rows) - 12:
                break
        client.settimeout(_HANGS_S)
        client.sendall(rows[start + 6 :])
        assert read_answer(client)[0] == 200


@pytest.fixture(scope="module")
def strict(settings: Settings) -> Iterator[tuple[str, FakeServices]]:
    fakes = FakeServices()
    hurried = Settings(
        home=settings.home, body_grace_s=0.4, write_idle_s=0.4, min_bytes_per_s=1 << 20
    )
    app = create_app(
        fakes.wired(),
        settings=hurried,
        open=fakes.open,
        close=fakes.close,
        check_ready=fakes.check_ready,
    )
    server = Server(app, hurried)
    yield server.start(), fakes
    server.stop()


@pytest.mark.parametrize("head", [infer_head(10_000), _GOOD[:-2] + b"Content-Length: 9999\r\n\r\n"])
def test_a_body_that_drips_is_not_slow_enough_to_live_for_ever(
    strict: tuple[str, FakeServices], head: bytes
) -> None:
    ends = time.monotonic() + _HANGS_S
    with socket.create_connection(address_of(strict[0]), timeout=0.05) as client:
        client.sendall(head)
        answer = b""
        while b"HTTP/1.1 408" not in answer:
            assert time.monotonic() < ends
            client.sendall(b"x")
            try:
                answer += client.recv(65_536)
            except TimeoutError:
                continue


@pytest.mark.parametrize("connection", [b"keep-alive", b"close"])
def test_an_answer_that_nobody_reads_ends_its_connection(
    strict: tuple[str, FakeServices],
    connection: bytes,
    wait_until: Callable[[Callable[[], bool]], None],
) -> None:
    url, fakes = strict
    text = pa.record_batch([pa.array(["x" * 60_000_000])], names=["x"])

    async def answer_much(
        _route: InferenceRoute, inputs: pa.RecordBatch, parse_ns: int
    ) -> InferenceRecord:
        return record_of(inputs, text, parse_ns)

    fakes.inference.behave = answer_much
    rows = json.dumps([{"tensor": [1.0, 2.0], "name": "a"}]).encode()
    head = infer_head(len(rows))[:-2] + b"Connection: " + connection + b"\r\n\r\n"
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(address_of(url))
        client.sendall(head + rows)
        port = client.getsockname()[1]
        peer = partial(_is_connected_from, port)
        wait_until(peer)
        wait_until(lambda: not peer())


def _is_connected_from(port: int) -> bool:
    """Whether this process, the server, holds a connection whose other end has that port."""
    found = psutil.Process().net_connections("tcp")
    return any(tuple(one.raddr)[1:] == (port,) for one in found)


def test_a_head_without_end_is_cut_off(api: Api) -> None:
    with socket.create_connection(address_of(api.url), timeout=_HANGS_S) as client:
        client.sendall(_GOOD[:-2] + b"x: ")
        answer = b""
        client.setblocking(False)
        sent_bytes, ends = 0, time.monotonic() + _HANGS_S
        while not answer and time.monotonic() < ends:
            try:
                sent_bytes += client.send(b"y" * 4096)
                answer = client.recv(65_536)
            except BlockingIOError:
                continue
            except ConnectionError:
                break
        assert sent_bytes < 64 << 20
        assert answer.startswith(b"HTTP/1.1 431") or not answer


@pytest.mark.parametrize(
    ("settings", "allowed"),
    [
        (Settings(), {"localhost", "127.0.0.1", "[::1]"}),
        (Settings(host="::1"), {"localhost", "127.0.0.1", "[::1]"}),
        (Settings(host="0.0.0.0"), None),  # noqa: S104 - the case
        (Settings(host="10.0.0.7"), None),
        (Settings(allowed_hosts="*"), None),
        (
            Settings(public_url="https://Models.example.com:8443/x"),
            {"localhost", "127.0.0.1", "[::1]", "models.example.com"},
        ),
        (
            Settings(host="0.0.0.0", allowed_hosts="a.example, ::2"),  # noqa: S104
            {"localhost", "127.0.0.1", "[::1]", "0.0.0.0", "a.example", "[::2]"},  # noqa: S104
        ),
    ],
)
def test_hosts_that_are_answered_for(settings: Settings, allowed: set[str] | None) -> None:
    assert allowed_hosts(settings) == allowed
