"""Group J: how a server ends when it is told to."""

import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from signal import SIGHUP, SIGINT, SIGTERM, Signals
from urllib.parse import urlsplit

import psutil
import pytest
import requests

from tests.acceptance.deploying import deploy, infer, infer_until_running
from tests.fakes.servers import RunningServer, kill_server, living, running_server, start_server

pytestmark = pytest.mark.registry

_PREDICT = """
    numbers = input_data["number"]
    if numbers[0] < 0:
        print("holding", flush=True)
        time.sleep(-numbers[0] / 1000)
    return {"doubled": numbers * 2, "pid": np.full(len(numbers), os.getpid())}
"""
_FOREVER_MS = 60_000
_DEADLINE_S = 60.0
_HANGS_S = 25.0
"""More than any stop takes that does not wait for the drain's own limit of 30 s."""


@dataclass
class Home:
    """A data directory in which a model runs that holds -n for n milliseconds."""

    path: Path
    url_path: str
    isolation: str

    def url(self, server: RunningServer) -> str:
        return server.url + self.url_path

    def held_so_far(self) -> int:
        """Return how many requests its workers have ever held."""
        logs = (self.path / "worker-logs").rglob("*.log")
        return sum(log.read_text().count("holding") for log in logs)


@dataclass
class Busy:
    """A server with one request in a model's hands."""

    server: RunningServer
    held: Future[requests.Response]
    workers: list[psutil.Process]

    def wait(self) -> int:
        return self.server.process.wait(_HANGS_S)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, isolation: str) -> Home:
    folder = tmp_path_factory.mktemp("stop")
    with running_server(folder / "home", {"BYOP_ISOLATION": isolation}) as server:
        pipeline = deploy(server, folder, "holding", _PREDICT)
        return Home(folder / "home", urlsplit(pipeline.url()).path, isolation)


@contextmanager
def _busy(home: Home, hold_ms: int, *, first: int = 1, **variables: str) -> Iterator[Busy]:
    """Give a server that has answered ``first``, and whose model holds a request now."""
    before = home.held_so_far()
    server = start_server(home.path, {"BYOP_ISOLATION": home.isolation, **variables})
    try:
        url = home.url(server)
        infer_until_running(server, url, first)
        with ThreadPoolExecutor() as pool:
            held = pool.submit(infer, server, url, -hold_ms)
            try:
                _wait_until(lambda: home.held_so_far() > before)
                yield Busy(server, held, server.workers())
            finally:
                kill_server(server.process)
    finally:
        kill_server(server.process)


def _wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _DEADLINE_S
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _refuses_connections(server: RunningServer) -> bool:
    address = urlsplit(server.url)
    with socket.socket() as trial:
        return trial.connect_ex((address.hostname, address.port)) != 0


def _logged(home: Home) -> list[int]:
    """Return every number in the log, as a new server reads it."""
    with running_server(home.path) as server:
        pipeline = server.client().build_pipeline("holding")
        found: list[int] = pipeline.logs(limit=10_000, arrow=True)["in.number"].to_pylist()
        return found


def test_j09_sigterm_refuses_connections_and_answers_what_runs(home: Home) -> None:
    with _busy(home, 1_500) as busy:
        busy.server.process.send_signal(SIGTERM)
        _wait_until(lambda: _refuses_connections(busy.server))
        assert busy.server.process.poll() is None
        answer = busy.held.result(_DEADLINE_S)
        assert answer.json()[0]["out"]["doubled"] == -3_000
        assert answer.headers["connection"] == "close"
        assert busy.wait() == 0
        assert living(busy.workers) == []


def test_j09_idle_connections_do_not_delay_the_stop(home: Home) -> None:
    with running_server(home.path) as server, requests.Session() as kept:
        assert kept.get(f"{server.url}/health", timeout=30).ok
        address = urlsplit(server.url)
        with socket.create_connection((address.hostname, address.port)):
            server.process.send_signal(SIGTERM)
            assert server.process.wait(_HANGS_S) == 0


def test_j09_drain_that_exceeds_its_time_fails_the_request_and_warns(home: Home) -> None:
    with _busy(home, _FOREVER_MS, BYOP_DRAIN_S="0.5") as busy:
        busy.server.process.send_signal(SIGTERM)
        answer = busy.held.result(_DEADLINE_S)
        assert answer.status_code >= requests.codes.server_error
        assert answer.json()["status"] == "Error"
        assert busy.wait() == 0
        assert living(busy.workers) == []
    assert "drain exceeded its time" in busy.server.log_text()


def test_j09_half_sent_upload_ends_with_the_drain(home: Home) -> None:
    server = start_server(home.path, {"BYOP_DRAIN_S": "0.5"})
    address = urlsplit(server.url)
    head = (
        f"POST /v1/api/models/upload_and_convert HTTP/1.1\r\nHost: {address.netloc}\r\n"
        f"Authorization: Bearer {server.token()}\r\nContent-Length: 9000000\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"
        'Content-Disposition: form-data; name="file"; filename="half.py"\r\n\r\n'
    )
    try:
        with socket.create_connection((address.hostname, address.port)) as half:
            half.sendall(head.encode() + bytes(4_000_000))
            _wait_until(lambda: any((home.path / "blobs" / "incoming").iterdir()))
            server.process.send_signal(SIGTERM)
            assert server.process.wait(_HANGS_S) == 0
        assert list((home.path / "blobs" / "incoming").iterdir()) == []
    finally:
        kill_server(server.process)


def test_j11_stop_under_load_exits_with_0_and_loses_no_acknowledged_row(home: Home) -> None:
    server = start_server(home.path)
    acknowledged: list[int] = []
    try:
        url = home.url(server)
        infer_until_running(server, url, 1_000)
        session = requests.Session()
        session.headers["Authorization"] = f"Bearer {server.token()}"
        for number in range(1_001, 1_000_000):
            try:
                answer = session.post(url, json=[{"number": number}], timeout=30)
            except requests.ConnectionError:
                break
            assert answer.ok, answer.text
            acknowledged.append(number)
            if len(acknowledged) == 200:
                server.process.send_signal(SIGTERM)
        assert server.process.wait(_HANGS_S) == 0
    finally:
        kill_server(server.process)
    logged = _logged(home)
    assert set(acknowledged) <= set(logged)
    assert len(set(acknowledged)) == sum(number in set(acknowledged) for number in logged)


@pytest.mark.parametrize("second", [SIGTERM, SIGINT])
def test_j12_second_signal_forces(home: Home, second: Signals) -> None:
    number = 2_000_000 + int(second)
    with _busy(home, _FOREVER_MS, first=number) as busy:
        busy.server.process.send_signal(SIGTERM)
        _wait_until(lambda: _refuses_connections(busy.server))
        busy.server.process.send_signal(second)
        assert busy.wait() == 1
        assert living(busy.workers) == []
        with pytest.raises(requests.ConnectionError):
            busy.held.result(_DEADLINE_S)
    assert "forces the stop" in busy.server.log_text()
    assert _logged(home).count(number) == 1


def test_j12_closed_terminal_drains_too(home: Home) -> None:
    with _busy(home, 1_000) as busy:
        busy.server.process.send_signal(SIGHUP)
        assert busy.held.result(_DEADLINE_S).ok
        assert busy.wait() == 0
