"""Group J: the wall clock jumps by an hour, ahead and back, under a server that runs."""

import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from signal import SIGUSR1, SIGUSR2, Signals

import pytest
import requests

from byop.client.pipeline import Pipeline
from tests.acceptance.deploying import deploy, infer_until_running
from tests.fakes.servers import ROOT, RunningServer, kill_server, start_server

pytestmark = pytest.mark.registry

AHEAD, BACK = SIGUSR1, SIGUSR2
_PREDICT = """
    numbers = input_data["number"]
    if numbers[0] < 0:
        time.sleep(-numbers[0] / 1000)
    return {"doubled": numbers * 2, "pid": np.full(len(numbers), os.getpid())}
"""
_TIMEOUT_S = 3
_HANGS_S = 30
_DEADLINE_S = 30.0


@dataclass
class Clocked:
    """A server whose clock can be made to jump."""

    server: RunningServer
    pipeline: Pipeline
    url: str

    def jump(self, way: Signals) -> None:
        """Let the clock jump, and return when it has."""
        before = self._seconds()
        self.server.process.send_signal(way)
        deadline = time.monotonic() + _DEADLINE_S
        while abs(self._seconds() - before) < 1800:
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def infer(self, number: int, token: str | None = None) -> requests.Response:
        return requests.post(
            self.url,
            json=[{"number": number}],
            headers={"Authorization": f"Bearer {token or self.server.token()}"},
            timeout=_HANGS_S,
        )

    def _seconds(self) -> float:
        """Return the server's time, as the Date of its answers has it."""
        answer = requests.get(f"{self.server.url}/health", timeout=_HANGS_S)
        return parsedate_to_datetime(answer.headers["date"]).timestamp()


@pytest.fixture(scope="module")
def clocked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clocked]:
    folder = tmp_path_factory.mktemp("clock")
    wrapper = [sys.executable, str(ROOT / "tests" / "fakes" / "jumping_clock.py")]
    variables = {"BYOP_PREDICT_TIMEOUT_S": str(_TIMEOUT_S), "PYTHONPATH": str(ROOT)}
    server = start_server(folder / "home", variables, wrapper=wrapper)
    try:
        pipeline = deploy(server, folder, "double", _PREDICT)
        url = pipeline.url()
        infer_until_running(server, url, 0)
        yield Clocked(server, pipeline, url)
    finally:
        kill_server(server.process)


def test_j13_rows_of_every_time_are_read_once_in_their_order(clocked: Clocked) -> None:
    sent = range(1, 31)
    for way, numbers in ((AHEAD, sent[:10]), (BACK, sent[10:20]), (BACK, sent[20:])):
        token = clocked.server.token()
        for number in numbers:
            assert clocked.infer(number, token).ok
        clocked.jump(way)
    clocked.jump(AHEAD)
    log = clocked.pipeline.logs(limit=1_000, arrow=True)
    times = log["time"].cast("int64").to_pylist()
    assert times == sorted(times, reverse=True)
    logged = [number for number in log["in.number"].to_pylist() if number > 0]
    assert sorted(logged) == list(sent)
    assert logged[:10] == list(sent[19:9:-1])  # made an hour ahead, hence the newest


def test_j13_pages_over_a_jump_neither_lose_nor_double_rows(clocked: Clocked) -> None:
    workspace, headers = {"workspace_id": 1}, {"Authorization": f"Bearer {clocked.server.token()}"}
    question = {**workspace, "pipeline_id": "double", "order": "Asc", "page_size": 3}
    found: list[tuple[int, int]] = []
    while True:
        page = requests.post(
            f"{clocked.server.url}/v1/api/pipelines/get_logs",
            json=question,
            headers=headers,
            timeout=_HANGS_S,
        )
        assert page.ok, page.text
        found += [(row["time"], row["in"]["number"]) for row in page.json()]
        if page.headers["x-iteration-status"] == "All":
            break
        question["cursor"] = page.headers["x-iteration-cursor"]
    newest = clocked.pipeline.logs(limit=1_000, arrow=True)
    assert sorted(n for _, n in found) == sorted(newest["in.number"].to_pylist())


def test_j13_tokens_end_by_the_wall_clock_and_none_is_refused_for_being_early(
    clocked: Clocked,
) -> None:
    token = clocked.server.token()
    clocked.jump(BACK)
    assert clocked.infer(0, token).ok
    clocked.jump(AHEAD)
    clocked.jump(AHEAD)
    expired = clocked.infer(0, token)
    assert expired.status_code == requests.codes.unauthorized
    assert "expired" in expired.json()["error"]
    assert clocked.infer(0).ok
    clocked.jump(BACK)


@pytest.mark.parametrize("way", [AHEAD, BACK])
def test_j15_request_outlives_a_jump_within_its_deadline(clocked: Clocked, way: Signals) -> None:
    token = clocked.server.token()
    with ThreadPoolExecutor() as pool:
        running = pool.submit(clocked.infer, -1_500, token)
        time.sleep(0.3)  # it runs or will: either way the jump falls into its deadline
        clocked.server.process.send_signal(way)
        assert running.result().ok
    clocked.jump(BACK if way is AHEAD else AHEAD)


@pytest.mark.parametrize("way", [AHEAD, BACK])
def test_j15_deadline_ends_a_request_although_the_clock_jumps(
    clocked: Clocked, way: Signals
) -> None:
    token = clocked.server.token()
    with ThreadPoolExecutor() as pool:
        running = pool.submit(clocked.infer, -60_000, token)
        time.sleep(0.3)  # as above
        clocked.server.process.send_signal(way)
        assert running.result().status_code == requests.codes.gateway_timeout
    infer_until_running(clocked.server, clocked.url, 0)
    clocked.jump(BACK if way is AHEAD else AHEAD)
