"""Crashes lose nothing that was acknowledged, fail nothing that was not hit, leave nothing."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from byop.client.pipeline import Pipeline
from tests.acceptance.deploying import deploy, infer, infer_until_running
from tests.acceptance.load import send_rows
from tests.fakes.servers import RunningServer, kill_server, living, running_server, start_server

pytestmark = pytest.mark.registry

ROWS = 10_000
KILLED_AFTER = 2_500
CONNECTIONS = 32

_DOUBLE = """
    numbers = input_data["number"]
    me = globals().setdefault("ME", int.from_bytes(os.urandom(6), "big"))
    return {"doubled": numbers * 2, "pid": np.full(len(numbers), me)}
"""
_BLOCK = """
    numbers = input_data["number"]
    if numbers[0] < 0:
        held = open(os.environ["MARKER"], "w")
        signal.pause()
    me = globals().setdefault("ME", int.from_bytes(os.urandom(6), "big"))
    return {"doubled": numbers * 2, "pid": np.full(len(numbers), me)}
"""
_DEADLINE_S = 60.0


@dataclass
class Crash:
    """What was acknowledged before the server was killed, and the server that came after it."""

    acknowledged: set[int]
    orphans: list[Any]
    restarted: RunningServer
    pipeline: Pipeline


@pytest.fixture(scope="module")
def crash(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crash]:
    """Kill a server while 10,000 rows are on their way, and start it again."""
    folder = tmp_path_factory.mktemp("server")
    server = start_server(folder / "home")
    acknowledged: set[int] = set()
    try:
        url = deploy(server, folder, "double", _DOUBLE).url()
        token = server.token()
        below = server.workers()
        assert below

        def note(number: int) -> None:
            acknowledged.add(number)
            if len(acknowledged) == KILLED_AFTER:
                server.process.kill()

        asyncio.run(
            send_rows(url, token, range(ROWS), connections=CONNECTIONS, on_acknowledged=note)
        )
    finally:
        kill_server(server.process)
    orphans = living(below)
    with running_server(folder / "home") as restarted:
        client = restarted.client()
        pipeline = client.build_pipeline("double")
        yield Crash(acknowledged, orphans, restarted, pipeline)
        client.close()


def test_the_server_was_killed_among_the_rows(crash: Crash) -> None:
    assert KILLED_AFTER <= len(crash.acknowledged) < ROWS


def test_every_acknowledged_row_is_in_the_log(crash: Crash) -> None:
    log = crash.pipeline.logs(limit=ROWS, arrow=True)
    logged = log["in.number"].to_pylist()
    assert crash.acknowledged - set(logged) == set()
    assert len(logged) == len(set(logged))
    assert log["out.doubled"].to_pylist() == [2 * number for number in logged]


def test_no_process_outlives_a_killed_server(crash: Crash) -> None:
    assert crash.orphans == []


def test_what_ran_runs_again_after_the_restart(crash: Crash) -> None:
    answer = infer_until_running(crash.restarted, crash.pipeline.url(), ROWS + 1)
    assert answer.json()[0]["out"]["doubled"] == 2 * (ROWS + 1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("workers")
    with running_server(folder / "home", {"BYOP_WORKER_WRITE_PATHS": str(folder)}) as server:
        yield server


def test_killed_worker_fails_its_request_only(server: RunningServer, tmp_path: Path) -> None:
    marker = server.home.parent / "blocking"
    blocking = deploy(server, tmp_path, "blocking", _BLOCK, MARKER=str(marker))
    other = deploy(server, tmp_path, "other", _DOUBLE)
    before = infer(server, other.url(), 1).json()[0]["out"]["pid"]
    with ThreadPoolExecutor() as pool:
        hit = pool.submit(infer, server, blocking.url(), -1)
        pid = _pid_of_writer(server, marker)
        waiting = [pool.submit(infer, server, blocking.url(), number) for number in (5, 6)]
        os.kill(pid, signal.SIGKILL)
        failed = hit.result()
        following = infer(server, blocking.url(), 7)
        queued = [request.result() for request in waiting]

    assert failed.status_code >= requests.codes.server_error
    assert failed.status_code != requests.codes.service_unavailable
    problem = failed.json()
    assert (problem["type"], problem["status"]) == ("model_crashed", "Error")
    assert problem["code"] == failed.status_code
    assert "SIGKILL" in problem["error"]
    assert "blocking" in problem["error"]
    doubled = [answer.json()[0]["out"]["doubled"] for answer in (*queued, following)]
    assert doubled == [10, 12, 14]
    assert infer(server, other.url(), 1).json()[0]["out"]["pid"] == before


def test_killed_worker_leaves_no_process_and_no_row(server: RunningServer, tmp_path: Path) -> None:
    marker = server.home.parent / "lonely"
    pipeline = deploy(server, tmp_path, "lonely", _BLOCK, MARKER=str(marker))
    before = infer(server, pipeline.url(), 2).json()[0]["out"]["pid"]
    replicas = {process.pid for process in server.workers()}
    with ThreadPoolExecutor() as pool:
        hit = pool.submit(infer, server, pipeline.url(), -1)
        pid = _pid_of_writer(server, marker)
        os.kill(pid, signal.SIGKILL)
        assert not hit.result().ok
    assert infer(server, pipeline.url(), 3).json()[0]["out"]["pid"] != before
    assert pid in replicas
    running = _until_as_many(server, len(replicas))
    assert pid not in running
    assert sorted(pipeline.logs()["in.number"]) == [2, 3]


def _until_as_many(server: RunningServer, count: int) -> set[int]:
    """Return the processes once there are that many; a start has one more for a moment."""
    deadline = time.monotonic() + _DEADLINE_S
    while len(running := {process.pid for process in server.workers()}) != count:
        assert time.monotonic() < deadline, (running, count)
        time.sleep(0.01)
    return running


def _pid_of_writer(server: RunningServer, marker: Path) -> int:
    """Return the process that holds the marker open: its own number and folder say nothing here."""
    deadline = time.monotonic() + _DEADLINE_S
    while time.monotonic() < deadline:
        for process in server.workers() if marker.exists() else ():
            if _holds(process.pid, marker):
                return process.pid
        time.sleep(0.01)
    raise TimeoutError("the model did not get the request")


def _holds(pid: int, file: Path) -> bool:
    for descriptor in Path(f"/proc/{pid}/fd").glob("*"):
        with contextlib.suppress(OSError):
            if descriptor.samefile(file):
                return True
    return False
