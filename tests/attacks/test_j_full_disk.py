"""Group J: no room is left. What would write is refused, what reads goes on, room heals it."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import requests

from byop.client.pipeline import Pipeline
from tests.acceptance.deploying import deploy, deployment_request, infer_until_running
from tests.attacks.small_disks import (
    fill,
    server_on_small_disk,
    server_with_small_files,
    why_no_small_disk,
)
from tests.fakes.servers import RunningServer

pytestmark = pytest.mark.registry

_FULL = 507
_PREDICT = """
    numbers = input_data["number"]
    return {"doubled": numbers * 2, "pid": np.full(len(numbers), os.getpid())}
"""
_MANY_ROWS = 20_000
_FILE_LIMIT = 4 << 20
_TRIES = 2_000
"""More writes than fit into what SQLite's files have left of their own."""


@dataclass
class Subject:
    """A server, one deployed pipeline, and the rows that were acknowledged."""

    server: RunningServer
    pipeline: Pipeline
    deployment: dict[str, object]
    url: str
    headers: dict[str, str]
    acknowledged: list[int]
    numbers: Iterator[int]

    def post(self, path: str, **content: Any) -> requests.Response:  # noqa: ANN401 - json=, files=
        url = self.server.url + path
        return requests.post(url, headers=self.headers, timeout=120, **content)

    def infer(self, rows: int) -> requests.Response:
        numbers = [next(self.numbers) for _ in range(rows)]
        answer = requests.post(
            self.url, json=[{"number": n} for n in numbers], headers=self.headers, timeout=120
        )
        if answer.ok:
            self.acknowledged += numbers
        return answer

    def make_workspace(self) -> requests.Response:
        name = f"workspace-{next(self.numbers)}"
        return self.post("/v1/api/workspaces/create", json={"workspace_name": name})

    def upload(self, size: int) -> requests.Response:
        metadata = {
            "name": f"model-{next(self.numbers)}",
            "workspace_id": 1,
            "conversion": {"framework": "python"},
        }
        source = b"def process_data(input_data: dict) -> dict: ...\n#" + b"x" * size
        files = {
            "metadata": (None, json.dumps(metadata), "application/json"),
            "file": ("step.py", source, "application/octet-stream"),
        }
        return self.post("/v1/api/models/upload_and_convert", files=files)

    def redeploy(self) -> requests.Response:
        """Deploy again what runs; it is written down anew each time."""
        found = self.post("/v1/api/pipelines/deploy", json=self.deployment)
        assert self.pipeline.status()["status"] != "Error"
        return found

    def refused(self, write: Callable[[], requests.Response]) -> requests.Response:
        """Return the first refusal: a few writes may still find room in files that are there."""
        for _ in range(_TRIES):
            answer = write()
            if not answer.ok:
                return answer
        raise AssertionError("never refused")

    def logged(self) -> list[int]:
        log = self.pipeline.logs(limit=1_000_000, arrow=True)
        found: list[int] = log["in.number"].to_pylist()
        return found


def _subject(server: RunningServer, folder: Path) -> Subject:
    pipeline = deploy(server, folder, "double", _PREDICT)
    url = pipeline.url()
    infer_until_running(server, url, 0)
    headers = {"Authorization": f"Bearer {server.token()}"}
    deployment = deployment_request(server, pipeline)
    return Subject(server, pipeline, deployment, url, headers, [0], count(1))


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory, isolation: str) -> Iterator[Subject]:
    """Give a server whose disk is full; the first case that needs room makes it."""
    if why := why_no_small_disk():
        pytest.skip(f"no small disk can be mounted here ({why}); J4 limits file sizes instead")
    folder = tmp_path_factory.mktemp("full")
    variables = {"BYOP_ISOLATION": isolation, "BYOP_MIN_FREE_BYTES": "0"}
    with server_on_small_disk(folder / "home", "12m", variables) as server:
        subject = _subject(server, folder)
        subject.infer(_MANY_ROWS)
        fill(server.home)
        yield subject


def _assert_full(answer: requests.Response) -> None:
    assert answer.status_code == _FULL, answer.text
    problem = answer.json()
    assert problem["type"] == "storage_full", problem
    assert problem["error"]


def test_j02_inference_that_cannot_be_logged_is_withheld(full: Subject) -> None:
    _assert_full(full.refused(lambda: full.infer(_MANY_ROWS)))


def test_j02_upload_is_refused_and_leaves_nothing(full: Subject) -> None:
    _assert_full(full.refused(lambda: full.upload(1 << 20)))
    assert list((full.server.home / "blobs" / "incoming").iterdir()) == []


def test_j02_metadata_is_refused(full: Subject) -> None:
    _assert_full(full.refused(full.make_workspace))


def test_j02_deployment_is_refused_and_what_runs_goes_on(full: Subject) -> None:
    _assert_full(full.refused(full.redeploy))
    assert full.pipeline.status()["status"] == "Running"


def test_j03_reads_go_on(full: Subject) -> None:
    assert sorted(full.logged()) == sorted(full.acknowledged)
    assert full.post("/v1/api/workspaces/list", json={}).ok
    assert requests.get(f"{full.server.url}/ready", timeout=30).ok


def test_j03_room_heals_without_a_restart(full: Subject) -> None:
    (full.server.home / "filler").unlink()
    assert full.infer(_MANY_ROWS).ok
    assert full.upload(1 << 10).ok
    assert full.make_workspace().ok
    assert full.redeploy().ok
    assert sorted(full.logged()) == sorted(full.acknowledged)


def test_j04_limit_on_file_sizes_refuses_what_exceeds_it_and_nothing_else(
    tmp_path: Path, isolation: str
) -> None:
    variables = {"BYOP_ISOLATION": isolation}
    with server_with_small_files(tmp_path / "home", _FILE_LIMIT, variables) as server:
        subject = _subject(server, tmp_path)
        _assert_full(subject.upload(2 * _FILE_LIMIT))
        assert list((server.home / "blobs" / "incoming").iterdir()) == []
        refused = subject.refused(lambda: subject.infer(_MANY_ROWS))
        assert refused.status_code == _FULL, refused.text
        assert sorted(subject.logged()) == sorted(subject.acknowledged)
        assert subject.infer(1).ok
        assert subject.upload(1 << 10).ok
        assert subject.make_workspace().ok
