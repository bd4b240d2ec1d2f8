"""What clients of a real server see when models fail: codes, times, status; neighbours answer."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from byop.client.model_version import ModelVersion
from byop.client.pipeline import Pipeline
from tests.acceptance.deploying import DOUBLED, NUMBERS, deploy
from tests.acceptance.projects import pack_project
from tests.fakes.servers import RunningServer, running_server
from tests.fakes.wheels import make_wheel

pytestmark = pytest.mark.registry

DEADLINE_S = 3.0
PATIENCE_S = 60.0
QUEUE_LIMIT = 6
PENDING_BYTES = 300_000
GONE = '"status": 499'
SHORT_S, LONG_S = 4.0, 30.0
RATE = 50

PREDICT = """
    numbers = input_data["number"]
    print("asked for", int(numbers[0]), flush=True)
    match int(numbers[0]):
        case -1:
            os._exit(7)
        case -2:
            time.sleep(600)
        case -3:
            raise ValueError("bad luck")
        case -4:
            return {"other": numbers}
        case -5:
            time.sleep(1)
        case -6:
            time.sleep(0.2)
    return {"doubled": numbers * 2, "pid": np.full(len(numbers), os.getpid())}
"""
VERSIONED = """
    import clashing
    numbers = input_data["{column}"]
    return {{"doubled": numbers * clashing.FACTOR, "pid": np.full(len(numbers), os.getpid())}}
"""


@dataclass
class Scene:
    """A server with a model that fails on demand and its neighbour."""

    server: RunningServer
    token: str
    pipelines: dict[str, Pipeline] = field(default_factory=dict)
    urls: dict[str, str] = field(default_factory=dict)

    def infer(
        self, name: str, *numbers: int, session: requests.Session | None = None
    ) -> requests.Response:
        return (session or requests.Session()).post(
            self.urls[name],
            json=[{"number": number} for number in numbers],
            headers={"Authorization": f"Bearer {self.token}"},
            timeout=PATIENCE_S,
        )

    def add(self, name: str, folder: Path, predict: str = PREDICT) -> None:
        self.pipelines[name] = deploy(self.server, folder, name, predict)
        self.urls[name] = self.pipelines[name].url()

    def status(self, name: str) -> dict[str, object]:
        return self.pipelines[name].status()

    def worker_log(self, name: str) -> str:
        logs = (self.server.home / "worker-logs").rglob(f"{name}-0.log")
        return "".join(path.read_text() for path in logs)

    @contextmanager
    def busy_neighbour(self) -> Iterator[list[int]]:
        """Ask the neighbour again and again; it must answer every time, and at least once."""
        codes: list[int] = []
        is_over = threading.Event()

        def ask() -> None:
            with requests.Session() as session:
                while not is_over.is_set():
                    codes.append(self.infer("neighbour", 2, session=session).status_code)

        with ThreadPoolExecutor(1) as pool:
            asking = pool.submit(ask)
            try:
                yield codes
            finally:
                is_over.set()
            asking.result()
        assert set(codes) == {200}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, isolation: str) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("failures")
    wheels = folder / "wheels"
    for version, factor in (("1.0", 2), ("2.0", 3)):
        make_wheel(wheels, "clashing", version, source=f"FACTOR = {factor}\n")
    settings = {
        "BYOP_ISOLATION": isolation,
        "BYOP_PREDICT_TIMEOUT_S": str(DEADLINE_S),
        "BYOP_QUEUE_LIMIT": str(QUEUE_LIMIT),
        "BYOP_MAX_PENDING_BYTES": str(PENDING_BYTES),
        "BYOP_FIND_LINKS": str(wheels),
        "BYOP_LOG_LEVEL": "DEBUG",
    }
    with running_server(folder / "home", settings) as server:
        made = Scene(server, server.token())
        made.add("victim", folder)
        made.add("neighbour", folder)
        yield made


def until(holds: Callable[[], bool]) -> None:
    """Wait until the server or a model has done something."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def problem(answer: requests.Response) -> tuple[int, str]:
    return answer.status_code, str(answer.json()["type"])


def test_h01_crash_is_502_and_told_in_the_status(scene: Scene) -> None:
    with scene.busy_neighbour() as codes:
        assert problem(scene.infer("victim", -1)) == (502, "model_crashed")
        assert scene.infer("victim", 1).json()[0]["out"]["doubled"] == 2
        until(lambda: len(codes) > 1)
    (replica,) = replicas(scene.status("victim"))
    assert replica["status"] == "Running"
    assert replica["details"] == ["last end: the worker process exited with code 7"]
    assert replica["restarts"] == 1


def test_h06_hang_is_504_within_a_second_of_the_deadline(scene: Scene) -> None:
    with scene.busy_neighbour():
        start = time.monotonic()
        assert problem(scene.infer("victim", -2)) == (504, "model_timeout")
        assert DEADLINE_S <= time.monotonic() - start < DEADLINE_S + 10
        assert scene.infer("victim", 1).json()[0]["out"]["doubled"] == 2
    (replica,) = replicas(scene.status("victim"))
    assert replica["details"] == ["last end: it was ended: a request ran past its deadline"]


def test_h20_wrong_output_is_502_and_an_exception_500(scene: Scene) -> None:
    with scene.busy_neighbour():
        assert problem(scene.infer("victim", -4)) == (502, "model_output_invalid")
        assert problem(scene.infer("victim", -3)) == (500, "model_failed")
        assert scene.infer("victim", 1).json()[0]["out"]["doubled"] == 2


def test_h05_crash_loop_is_error_with_the_reason_in_the_status(
    scene: Scene, tmp_path: Path
) -> None:
    scene.add("looping", tmp_path)
    with scene.busy_neighbour():
        for _ in range(5):
            until(lambda: scene.status("looping")["status"] == "Running")
            assert problem(scene.infer("looping", -1)) == (502, "model_crashed")
        until(lambda: scene.status("looping")["status"] == "Error")
    told = scene.status("looping")
    reason = "the worker process exited with code 7 (a crash loop: 5 ends in 60 s)"
    (replica,) = replicas(told)
    assert replica["reason"] == reason
    assert told["details"] == [f"{replica['name']}: {reason}"]


def test_full_queue_is_429_with_a_time_to_come_back(scene: Scene) -> None:
    with scene.busy_neighbour(), ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: scene.infer("victim", -6), range(12)))
    codes = [answer.status_code for answer in answers]
    assert set(codes) == {200, 429}
    assert codes.count(200) >= QUEUE_LIMIT
    for refused in (answer for answer in answers if answer.status_code == 429):
        assert refused.headers["Retry-After"] == "1"
        assert problem(refused) == (429, "overloaded")


def test_queued_request_of_a_client_that_left_is_never_run(scene: Scene) -> None:
    seen = scene.server.log_text().count(GONE)
    asked = scene.worker_log("victim").count("asked for -5")
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(scene.infer, "victim", -5)
        until(lambda: scene.worker_log("victim").count("asked for -5") > asked)
        client = open_request(scene, "victim", body := b'[{"number": 4711}]', len(body))
        assert running.running()
        client.close()
        assert running.result().status_code == 200
    assert scene.infer("victim", 4712).status_code == 200
    until(lambda: "asked for 4712" in scene.worker_log("victim"))
    assert scene.server.log_text().count(GONE) > seen
    assert "asked for 4711" not in scene.worker_log("victim")


def test_bodies_beyond_what_the_server_holds_are_429_before_they_are_read(scene: Scene) -> None:
    rows = json.dumps([{"number": 1}] * 8000).encode()
    assert 100_000 < len(rows) < PENDING_BYTES / 2
    with open_request(scene, "victim", b"[", 250_000) as slow:
        refused: list[bytes] = []
        while not refused:  # until the server has read what the first one declares
            with open_request(scene, "victim", b"", len(rows)) as other:
                other.settimeout(0.3)
                try:
                    refused = other.recv(4096).splitlines()
                except TimeoutError:
                    continue
        assert refused[0].split()[1] == b"429"
        assert b"retry-after: 1" in refused
        assert scene.infer("victim", 1).status_code == 200
        slow.close()
    until(lambda: scene.infer("victim", *range(8000)).status_code == 200)


def test_h25_conflicting_versions_of_a_package_run_in_one_pipeline(
    scene: Scene, tmp_path: Path
) -> None:
    models = versions(scene, tmp_path, "together")
    pipeline = scene.server.client().build_pipeline("together")
    for model in models:
        pipeline.add_model_step(model)
    pipeline.deploy({"engine": {}})
    scene.urls["together"] = pipeline.url()
    assert scene.infer("together", 5).json()[0]["out"]["doubled"] == 30


def test_h26_swapping_versions_under_load_fails_no_request(scene: Scene, tmp_path: Path) -> None:
    swap_under_load(scene, tmp_path, "swapped", SHORT_S)


@pytest.mark.long
def test_h26_swapping_versions_under_load_for_long_fails_no_request(
    scene: Scene, tmp_path: Path
) -> None:
    swap_under_load(scene, tmp_path, "swapped-for-long", LONG_S)


def test_h26_version_that_does_not_load_leaves_the_one_that_runs(
    scene: Scene, tmp_path: Path
) -> None:
    scene.add("stable", tmp_path)
    archive = pack_project(
        tmp_path, "broken", predict=PREDICT, create="if os.environ.get('HURT'): os._exit(9)"
    )
    client = scene.server.client()
    broken = client.upload_model("broken", archive, "custom", NUMBERS, DOUBLED)
    images = {f"broken-{broken.id()}": {"env": {"HURT": "yes"}}}
    pipeline = scene.pipelines["stable"].clear().add_model_step(broken)
    pipeline.deploy({"engine": {}, "engineAux": {"images": images}}, wait_for_status=False)
    until(lambda: scene.status("stable")["status"] == "Error")
    (replica,) = replicas(scene.status("stable"))
    assert "exited with code 9" in str(replica["reason"])
    assert scene.infer("stable", 4).json()[0]["out"]["doubled"] == 8


def replicas(status: dict[str, object]) -> list[dict[str, object]]:
    found = status["sidekicks"]
    assert isinstance(found, list)
    return found


def versions(scene: Scene, folder: Path, name: str) -> list[ModelVersion]:
    """Upload a model of each version of the package; the second takes what the first gives."""
    client = scene.server.client()
    made = []
    for version, inputs in (("1.0", NUMBERS), ("2.0", DOUBLED)):
        label = f"{name}-{version[0]}"
        archive = pack_project(
            folder,
            label,
            predict=VERSIONED.format(column=inputs.names[0]),
            requirements=f"clashing=={version}\n",
        )
        made.append(client.upload_model(label, archive, "custom", inputs, DOUBLED))
    return made


def swap_under_load(scene: Scene, folder: Path, name: str, seconds: float) -> None:
    """Swap two models again and again while 50 requests a second come."""
    client = scene.server.client()
    archives = [
        pack_project(folder, f"{name}-{n}", predict=PREDICT.replace("* 2", f"* {n + 2}"))
        for n in range(2)
    ]
    models = [
        client.upload_model(f"{name}-{n}", archive, "custom", NUMBERS, DOUBLED)
        for n, archive in enumerate(archives)
    ]
    pipeline = client.build_pipeline(name).add_model_step(models[0]).deploy({"engine": {}})
    scene.urls[name] = pipeline.url()
    end = time.monotonic() + seconds
    with ThreadPoolExecutor(5) as pool:
        loads = [pool.submit(load, scene, name, end) for _ in range(5)]
        swaps = 0
        while time.monotonic() < end:
            swaps += 1
            pipeline.clear().add_model_step(models[swaps % 2]).deploy({"engine": {}})
        answers = [answer for load in loads for answer in load.result()]
    assert {code for code, _ in answers} == {200}
    assert {factor for _, factor in answers} == {2, 3}
    assert swaps > 1


def load(scene: Scene, name: str, end: float) -> list[tuple[int, int]]:
    """Send a fifth of the rate until ``end``; return code and result of each answer."""
    found = []
    due = time.monotonic()
    with requests.Session() as session:
        while time.monotonic() < end:
            answer = scene.infer(name, 1, session=session)
            result = answer.json()[0]["out"]["doubled"] if answer.ok else 0
            found.append((answer.status_code, result))
            due += 5 / RATE
            time.sleep(max(0.0, due - time.monotonic()))
    return found


def open_request(scene: Scene, name: str, body: bytes, declared_bytes: int) -> socket.socket:
    """Return a connection that has sent a request's head and the first of its body."""
    parts = urlsplit(scene.urls[name])
    assert parts.hostname is not None
    connection = socket.create_connection((parts.hostname, parts.port or 80), PATIENCE_S)
    head = (
        f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
        f"Authorization: Bearer {scene.token}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {declared_bytes}\r\n\r\n"
    )
    connection.sendall(head.encode() + body)
    return connection
