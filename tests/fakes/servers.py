"""A real server in a process of its own, over a temporary home, on a free port."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import requests

from byop.client.client import Client
from byop.client.credentials import UserPassword

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENTS = ROOT / ".cache" / "test-environments"
INSTALLER_CACHE = ROOT / ".cache" / "uv"

TOKEN_PATH = "/auth/realms/master/protocol/openid-connect/token"  # noqa: S105 - a route

_READY = re.compile(r"byop is ready at (http://\S+)")
_START_S = 90.0
_STOP_S = 60.0
_END_S = 20.0
_POLL_S = 0.02
_PASSED_ON = ("COVERAGE_", "PIP_", "UV_", "SSL_CERT_", "REQUESTS_CA_BUNDLE")
_PROXIES = ("http_proxy", "https_proxy", "no_proxy")
"""What an environment build, or the measuring of coverage, needs of the outside."""


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server that answers. ``output`` is the file with its standard output and error."""

    url: str
    home: Path
    output: Path
    process: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        """Return the process id."""
        return self.process.pid

    def credentials(self) -> dict[str, str]:
        """Return what the server wrote at its first start."""
        kept: dict[str, str] = json.loads((self.home / "initial-credentials.json").read_text())
        return kept

    def token(self) -> str:
        """Return an access token of the administrator."""
        kept = self.credentials()
        answer = requests.post(
            self.url + TOKEN_PATH,
            auth=(kept["confidentialClient"], kept["confidentialPassword"]),
            data={
                "grant_type": "password",
                "username": kept["username"],
                "password": kept["password"],
            },
            timeout=30,
        )
        answer.raise_for_status()
        return str(answer.json()["access_token"])

    def client(self) -> Client:
        """Return a client of the administrator; what it waits for may build environments."""
        kept = self.credentials()
        return Client(
            api_endpoint=self.url,
            request_timeout=300,
            credentials=UserPassword(kept["username"], kept["password"]),
        )

    def log_text(self) -> str:
        """Return all that the server has written to its output so far."""
        return self.output.read_text(errors="replace")

    def workers(self) -> list[psutil.Process]:
        """Return the processes below the server that live."""
        return psutil.Process(self.pid).children(recursive=True)


def server_environ(home: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the whole environment of a server under test: little of this process gets in."""
    environ = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(_PASSED_ON) or name.lower() in _PROXIES
    }
    environ.update(
        PATH=os.environ["PATH"],
        HOME=str(home),
        LANG="C.UTF-8",
        BYOP_HOME=str(home),
        BYOP_ENVIRONMENTS_DIR=str(ENVIRONMENTS),
    )
    environ.setdefault("UV_CACHE_DIR", str(INSTALLER_CACHE))
    return {**environ, **(extra or {})}


def start_server(
    home: Path, extra: Mapping[str, str] | None = None, *, wrapper: Sequence[str] = ()
) -> RunningServer:
    """Start a server and return it once it answers. The caller ends it.

    ``wrapper`` is a command that becomes the server (``exec``), for limits and namespaces.
    """
    home.parent.mkdir(parents=True, exist_ok=True)
    output = home.parent / f"{home.name}-output.txt"
    start = output.stat().st_size if output.exists() else 0
    with output.open("ab") as sink:
        process = subprocess.Popen(
            [*wrapper, sys.executable, "-m", "byop", "serve", "--port", "0"],
            cwd=ROOT,
            env=server_environ(home, extra),
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
        )
    try:
        url = _wait_for_url(process, output, start)
    except BaseException:
        kill_server(process)
        raise
    return RunningServer(url, home, output, process)


def stop_server(server: RunningServer) -> None:
    """End the server as an operator does, and check that it went well and left nothing."""
    below = server.workers()
    server.process.send_signal(signal.SIGTERM)
    try:
        code = server.process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        kill_server(server.process)
        raise
    assert code == 0, f"the server ended with {code}:\n{server.log_text()[-4000:]}"
    assert living(below) == []


def kill_server(process: subprocess.Popen[bytes]) -> None:
    """End the server as a crash does."""
    process.kill()
    process.wait(_STOP_S)


def living(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Return those that do not end within a deadline."""
    _, alive = psutil.wait_procs(processes, timeout=_END_S)
    return alive


@contextmanager
def running_server(home: Path, extra: Mapping[str, str] | None = None) -> Iterator[RunningServer]:
    """Give a server over ``home``; at the end it must stop with 0 and leave no process."""
    server = start_server(home, extra)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            stop_server(server)


def _wait_for_url(process: subprocess.Popen[bytes], output: Path, start: int) -> str:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        text = output.read_bytes()[start:].decode(errors="replace")
        if found := _READY.search(text):
            return found[1]
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with {process.returncode}:\n{text}")
        time.sleep(_POLL_S)
    raise TimeoutError(f"the server did not get ready in {_START_S:g} s:\n{output.read_text()}")
