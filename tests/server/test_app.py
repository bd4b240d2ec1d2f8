import gzip
import logging
import re
import socket
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest
import requests
import uvicorn

from byop.errors import StorageUnavailableError
from byop.server.app import create_app
from byop.server.routes.tokens import PATH
from byop.settings import Settings
from tests.fakes.services import USER_TOKEN, FakeServices
from tests.server.conftest import INFER_PATH, Api, Server

_PATHS = ["/v1/api/workspaces/list", INFER_PATH]


@pytest.mark.parametrize("path", _PATHS)
def test_a_sane_request_id_is_echoed(api: Api, path: str) -> None:
    response = api.post(path, json={}, headers={"X-Request-Id": "A-z_0.9:x"})
    assert response.headers["x-request-id"] == "A-z_0.9:x"


@pytest.mark.parametrize("path", _PATHS)
@pytest.mark.parametrize("given", [None, "", "a b", 'a"b', "a\tb", "x" * 129])
def test_another_request_id_is_replaced(api: Api, path: str, given: str | None) -> None:
    response = api.post(path, json={}, headers={"X-Request-Id": given})
    assert re.fullmatch(r"[0-9a-f]{16}", response.headers["x-request-id"])


@pytest.mark.parametrize("path", [*_PATHS, "/v1/api/models/upload"])
def test_a_compressed_body_is_refused_by_name(api: Api, path: str) -> None:
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    response = api.post(path, data=gzip.compress(b"[]"), headers=headers)
    assert (response.status_code, response.json()["type"]) == (415, "unsupported_media_type")
    assert "Content-Encoding 'gzip' is not supported" in response.json()["error"]


def test_an_unknown_route_is_404_in_the_envelope(api: Api) -> None:
    response = api.post("/v1/api/nothing", json={})
    assert (response.status_code, response.json()["type"]) == (404, "unknown_route")
    assert api.get("/anything").json()["source"] == "api"


def test_a_wrong_method_is_405_in_the_envelope(api: Api) -> None:
    response = api.get("/v1/api/workspaces/list")
    assert (response.status_code, response.json()["type"]) == (405, "method_not_allowed")
    assert response.headers["allow"] == "POST"


def test_a_management_body_over_the_limit_is_413(api: Api) -> None:
    response = api.post("/v1/api/workspaces/list", data=b" " * ((8 << 20) + 1))
    assert (response.status_code, response.json()["type"]) == (413, "too_large")


def test_a_token_form_may_have_64_kib(api: Api) -> None:
    form = b"grant_type=" + b"x" * (64 << 10)
    assert api.post(PATH, data=form).status_code == 413
    assert api.post(PATH, data=form[: 64 << 10]).status_code == 400


def _head(method: str, path: str, length: int) -> bytes:
    return (
        f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {USER_TOKEN}\r\n"
        f"Content-Length: {length}\r\n\r\n"
    ).encode()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/health", 200),
        ("GET", "/v1/api/workspaces/list", 405),
        ("POST", "/v1/api/nothing", 404),
        ("POST", "/nothing", 404),
        ("PUT", PATH, 405),
    ],
)
def test_a_body_that_no_route_reads_is_not_waited_for(
    api: Api, method: str, path: str, status: int
) -> None:
    with _connected(api) as client:
        client.sendall(_head(method, path, 1 << 20) + b"{")
        assert client.recv(65_536).startswith(b"HTTP/1.1 %d " % status)


def test_large_management_bodies_count_as_inference_bodies_do(
    api: Api, wait_until: Callable[[Callable[[], bool]], None]
) -> None:
    memory = api.fakes.inference.memory
    memory.limit_bytes = 100_000
    with _connected(api) as client:
        client.sendall(_head("POST", "/v1/api/workspaces/list", 90_000) + b"{")
        wait_until(lambda: memory.held_bytes == 90_000)
        body = b'{"x": "%b"}' % (b"x" * 90_000)
        response = api.post("/v1/api/workspaces/list", data=body)
        assert (response.status_code, response.headers["Retry-After"]) == (429, "1")
    wait_until(lambda: memory.held_bytes == 0)
    assert api.post("/v1/api/workspaces/list", data=body).status_code == 200


def _connected(api: Api) -> socket.socket:
    parts = urlsplit(api.url)
    return socket.create_connection((str(parts.hostname), int(parts.port or 0)), timeout=20)


def test_a_large_management_body_is_checked_as_small_ones_are(api: Api) -> None:
    body = b'{"x": "%b", "x": 1}' % (b"x" * 300_000)
    response = api.post("/v1/api/workspaces/list", data=body)
    assert (response.status_code, response.json()["type"]) == (400, "invalid_payload")


def test_other_origins_get_no_permission(api: Api) -> None:
    response = requests.options(
        f"{api.url}/v1/api/workspaces/list",
        headers={"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"},
        timeout=30,
    )
    assert response.status_code == 405
    assert not [name for name in response.headers if name.lower().startswith("access-control")]


def test_ready_is_200_only_while_nothing_keeps_it_from_serving(api: Api) -> None:
    assert api.get("/ready").status_code == 200
    api.fakes.not_ready = StorageUnavailableError("the log cannot be written")
    response = api.get("/ready")
    assert response.status_code == 503
    assert response.json() == {"status": "not ready", "error": "the log cannot be written"}


def test_a_fault_of_the_server_is_500_in_the_envelope(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api.fakes.workspaces, "kept", None)
    response = api.post("/v1/api/workspaces/list", json={})
    assert (response.status_code, response.json()["type"]) == (500, "internal_error")
    assert response.headers["x-request-id"]


def test_logs_hold_no_token_and_no_body(api: Api, capfd: pytest.CaptureFixture[str]) -> None:
    rows = [{"tensor": [1, 2], "name": "canary-prompt"}]
    api.post(INFER_PATH, json=rows)
    api.post(INFER_PATH, json=[{"name": "canary-prompt"}])
    api.post("/v1/api/workspaces/create", json={"workspace_name": "canary-prompt"})
    api.post("/v1/api/workspaces/list", headers={"Authorization": "Bearer canary-token"})
    told = capfd.readouterr()
    assert "request_id" in told.out
    assert "canary" not in told.out + told.err


def test_a_server_that_cannot_open_does_not_start(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail() -> None:
        raise StorageUnavailableError("no disk")

    fakes = FakeServices()
    app = create_app(
        fakes.wired(),
        settings=settings,
        open=fail,
        close=fakes.close,
        check_ready=fakes.check_ready,
    )
    server = uvicorn.Server(uvicorn.Config(app, port=0, lifespan="on", log_config=None))
    with caplog.at_level(logging.ERROR), pytest.raises(SystemExit):
        server.run()
    assert fakes.events == []


def test_opening_and_closing_frame_the_service(settings: Settings) -> None:
    fakes = FakeServices()
    app = create_app(
        fakes.wired(),
        settings=settings,
        open=fakes.open,
        close=fakes.close,
        check_ready=fakes.check_ready,
    )
    server = Server(app)
    server.start()
    assert fakes.events == ["open"]
    server.stop()
    assert fakes.events == ["open", "close"]
