"""``byop serve`` as an operator meets it: what it writes, and what it says when it cannot start."""

import socket
import stat
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
import requests

from byop.domain.models import Framework
from tests.fakes.servers import running_server, server_environ

_SEVERAL_LINES = 2


def _serve(home: Path, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a server that is not to start."""
    return subprocess.run(
        [sys.executable, "-m", "byop", "serve", "--port", "0", *options],
        env=server_environ(home, variables),
        cwd=home.parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def _complaint(ended: subprocess.CompletedProcess[str]) -> str:
    assert ended.returncode == 1
    lines = ended.stderr.splitlines()
    assert len(lines) < _SEVERAL_LINES, ended.stderr
    return lines[0]


def _open_to_others(home: Path) -> list[str]:
    """Return what another user of the machine could read if the home lets them in."""
    found = []
    for path in home.iterdir():
        mode = path.stat().st_mode
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            found.append(path.name)
    return found


@pytest.mark.registry
def test_others_may_read_nothing_even_when_the_home_is_open_to_them(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o755)
    step = tmp_path / "step.py"
    step.write_text("def process_data(input_data: dict) -> dict: ...\n")
    with running_server(home) as server:
        server.client().upload_model("m", step, Framework.PYTHON)
        assert (home / "models").is_dir()
        assert _open_to_others(home) == []


def test_a_relative_home_is_made_absolute(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("")
    complaint = _complaint(_serve(tmp_path / "home", "--home", "other"))
    assert str(tmp_path / "other") in complaint


@pytest.mark.parametrize("port", ["99999", "-1"])
def test_a_port_that_there_is_not_is_named(tmp_path: Path, port: str) -> None:
    complaint = _complaint(_serve(tmp_path / "home", "--port", port))
    assert complaint.startswith("error: BYOP_PORT: cannot listen on")


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        complaint = _complaint(_serve(tmp_path / "home", "--port", port))
    assert f"127.0.0.1:{port}" in complaint
    assert "in use" in complaint


def test_a_home_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    assert str(tmp_path / "home") in _complaint(_serve(tmp_path / "home"))


@pytest.mark.parametrize("content", ["{", "[]", '{"username": "u"}'])
def test_credentials_of_a_first_start_that_cannot_be_read_are_named(
    tmp_path: Path, content: str
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "initial-credentials.json").write_text(content)
    complaint = _complaint(_serve(home))
    assert "initial-credentials.json" in complaint
    assert "restore or delete it" in complaint


def test_a_secret_key_that_is_none_is_named_and_not_shown(tmp_path: Path) -> None:
    complaint = _complaint(_serve(tmp_path / "home", BYOP_SECRET_KEY="hunter2!"))  # noqa: S106 - test data
    assert "BYOP_SECRET_KEY" in complaint
    assert "hunter2" not in complaint


def test_an_ipv6_address_is_announced_in_brackets(tmp_path: Path) -> None:
    with running_server(tmp_path / "home", {"BYOP_HOST": "::1"}) as server:
        assert server.url.startswith("http://[::1]:")
        assert requests.get(f"{server.url}/health", timeout=30).ok


def test_connections_are_bounded_and_open_files_are_as_many_as_may_be(tmp_path: Path) -> None:
    with running_server(tmp_path / "home", {"BYOP_MAX_CONNECTIONS": "4"}) as server:
        soft, hard = psutil.Process(server.pid).rlimit(psutil.RLIMIT_NOFILE)
        assert soft == hard
        parts = urlsplit(server.url)
        address = str(parts.hostname), int(parts.port or 0)
        with ExitStack() as stack:
            for _ in range(4):
                stack.enter_context(socket.create_connection(address))
            assert requests.get(f"{server.url}/health", timeout=30).status_code == 503
        deadline = time.monotonic() + 20
        while requests.get(f"{server.url}/health", timeout=30).status_code == 503:
            assert time.monotonic() < deadline
