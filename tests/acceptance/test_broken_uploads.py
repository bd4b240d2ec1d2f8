"""Uploads that end early: by their client, by its silence, by the death of the server."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from tests.attacks.upload_site import UPLOAD_PATH
from tests.fakes.servers import RunningServer, kill_server, running_server, start_server

_HALF = b"x" * (3 << 20)
_DEADLINE_S = 30.0
_SILENCE = {"BYOP_BODY_IDLE_S": "1"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("broken") / "home", _SILENCE) as server:
        yield server


def test_upload_whose_client_leaves_is_removed(server: RunningServer) -> None:
    with _half_upload(server):
        pass
    _wait_for(lambda: _files(server.home) == [])
    _require_no_version(server)


def test_upload_whose_client_falls_silent_is_broken_off_and_removed(server: RunningServer) -> None:
    with _half_upload(server) as client:
        assert client.recv(12) == b"HTTP/1.1 408"
        _wait_for(lambda: _files(server.home) == [])
    _require_no_version(server)


def test_upload_of_a_killed_server_is_never_seen(tmp_path: Path) -> None:
    killed = start_server(tmp_path / "home")
    try:
        with _half_upload(killed):
            kill_server(killed.process)
    finally:
        kill_server(killed.process)
    assert len(_files(tmp_path / "home")) == 1
    with running_server(tmp_path / "home") as server:
        assert _files(tmp_path / "home") == []
        _require_no_version(server)


@contextmanager
def _half_upload(server: RunningServer) -> Iterator[socket.socket]:
    """Give a connection that has sent a half, which lies on the server's disk."""
    metadata = {"name": "half", "workspace_id": 1, "conversion": {"framework": "python"}}
    body = (
        '--b0\r\nContent-Disposition: form-data; name="metadata"\r\n\r\n'
        f"{json.dumps(metadata)}\r\n--b0\r\n"
        'Content-Disposition: form-data; name="file"; filename="half.py"\r\n\r\n'
    ).encode() + _HALF
    head = (
        f"POST {UPLOAD_PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Authorization: Bearer {server.token()}\r\n"
        "Content-Type: multipart/form-data; boundary=b0\r\n"
        f"Content-Length: {2 * len(body)}\r\n\r\n"
    ).encode()
    host, port = urlsplit(server.url).netloc.split(":")
    with socket.create_connection((host, int(port)), timeout=_DEADLINE_S) as client:
        client.sendall(head + body)
        _wait_for(lambda: any(path.stat().st_size for path in _files(server.home)))
        yield client


def _files(home: Path) -> list[Path]:
    return [path for path in (home / "blobs").rglob("*") if path.is_file()]


def _require_no_version(server: RunningServer) -> None:
    answer = requests.post(
        f"{server.url}/v1/api/models/get_version_by_id",
        json={"model_version_id": 1},
        headers={"Authorization": f"Bearer {server.token()}"},
        timeout=30,
    )
    assert answer.status_code == 404


def _wait_for(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _DEADLINE_S
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)
