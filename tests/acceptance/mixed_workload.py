"""Clients that do everything at once to a server, and a ledger of what it acknowledged.

What the clients do follows from a seed; when the server is killed too: after so many
acknowledgements, and a delay.
"""

import hashlib
import json
import random
import threading
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import requests

from byop.client.pipeline import Pipeline
from tests.acceptance.deploying import DOUBLED, NUMBERS, deployment_request
from tests.acceptance.projects import pack_project
from tests.fakes.servers import RunningServer

LOAD = "load"
"""The pipeline that takes every inference; the others are deployed and undeployed."""
CHURNED = ("churn-0", "churn-1", "churn-2")
_LARGE_ROWS = 4_000
"""Their batch lies in a file beside the log's database."""
_LARGEST_WEIGHTS = 3_000_000
_TIMEOUT_S = 120
_PREDICT = """
    numbers = input_data["number"]
    return {"doubled": numbers * 2, "pid": np.full(len(numbers), os.getpid())}
"""


@dataclass(frozen=True, slots=True)
class Uploaded:
    """A model version as the answer to its upload told it."""

    id: int
    name: str
    sha: str


@dataclass
class Ledger:
    """What was sent to a server, over all of its lives, and what it acknowledged."""

    requests: dict[int, int] = field(default_factory=dict)
    """Size of every inference by its first number."""
    acknowledged_requests: set[int] = field(default_factory=set)
    uploads: dict[str, str] = field(default_factory=dict)
    """Hash of every file by the name of its model."""
    versions: list[Uploaded] = field(default_factory=list)
    workspaces: set[str] = field(default_factory=set)
    acknowledged_workspaces: set[str] = field(default_factory=set)
    deployed: dict[str, bool | None] = field(default_factory=dict)
    """Whether a pipeline runs; None when the server died before it answered."""
    next_number: int = 1
    lock: threading.Lock = field(default_factory=threading.Lock)

    def next_request(self, size: int) -> int:
        """Return the first number of a request of that size, which nobody else gets."""
        with self.lock:
            first = self.next_number
            self.next_number += size
            self.requests[first] = size
        return first


@dataclass(frozen=True, slots=True)
class Deployable:
    """What the API needs to deploy a pipeline."""

    pipeline_id: int
    address: str
    request: dict[str, object]


@dataclass(frozen=True, slots=True)
class Stage:
    """What the clients use: pipelines that were deployed once, and a project's source."""

    deployables: dict[str, Deployable]
    source: bytes


class Api:
    """One client of the server. Once the server is dying, a broken connection is no failure."""

    def __init__(self, url: str, token: str, dying: threading.Event) -> None:
        self._url = url
        self._dying = dying
        self._session = requests.Session()
        self._session.headers["Authorization"] = f"Bearer {token}"

    def post(self, path: str, **content: Any) -> Any:  # noqa: ANN401 - JSON
        """Return the answer's JSON, None when the server died before it was complete."""
        try:
            answer = self._session.post(self._url + path, timeout=_TIMEOUT_S, **content)
        except requests.RequestException:
            if not self._dying.wait(5):
                raise
            return None
        if not answer.ok:
            raise AssertionError(f"{path}: {answer.status_code} {answer.text[:500]}")
        return answer.json()


class MixedWorkload:
    """The clients of one life of the server."""

    def __init__(
        self,
        server: RunningServer,
        ledger: Ledger,
        stage: Stage,
        seed: str,
    ) -> None:
        self._server = server
        self._ledger = ledger
        self._deployables = stage.deployables
        self._source = stage.source
        self._seed = seed
        self._token = server.token()
        self._dying = threading.Event()
        self._failures: list[BaseException] = []
        self._acknowledged = threading.Semaphore(0)

    def run_until(self, operations: int, kill: Callable[[], None], *, delay_s: float) -> None:
        """Let the clients work; after so many acknowledgements and the delay, kill the server."""
        actors: list[Callable[[Api, random.Random], bool]] = [self._infer_small] * 3
        actors += [self._infer_large, self._upload, self._redeploy, self._make_workspaces]
        threads = [
            threading.Thread(target=self._act, args=(number, actor), daemon=True)
            for number, actor in enumerate(actors)
        ]
        for thread in threads:
            thread.start()
        try:
            for _ in range(operations):
                assert self._acknowledged.acquire(timeout=_TIMEOUT_S), "the server hangs"
            self._dying.wait(delay_s)
        finally:
            self._dying.set()
            kill()
            for thread in threads:
                thread.join(_TIMEOUT_S)
        assert self._failures == []

    def _act(self, number: int, actor: Callable[[Api, random.Random], bool]) -> None:
        api = Api(self._server.url, self._token, self._dying)
        rng = random.Random(f"{self._seed}/{number}")  # noqa: S311 - it must be repeatable
        try:
            while not self._dying.is_set() and actor(api, rng):
                self._acknowledged.release()
        except BaseException as error:  # noqa: BLE001 - told to the thread that waits
            self._failures.append(error)
            for _ in range(1_000):
                self._acknowledged.release()

    def _infer_small(self, api: Api, rng: random.Random) -> bool:
        return self._infer(api, rng.randint(1, 5))

    def _infer_large(self, api: Api, _rng: random.Random) -> bool:
        return self._infer(api, _LARGE_ROWS)

    def _infer(self, api: Api, size: int) -> bool:
        first = self._ledger.next_request(size)
        rows = [{"number": number} for number in range(first, first + size)]
        answer = api.post(infer_path(LOAD, self._deployables[LOAD]), json=rows)
        if answer is None:
            return False
        assert [row["out"]["doubled"] for row in answer] == [2 * row["number"] for row in rows]
        self._ledger.acknowledged_requests.add(first)
        return True

    def _upload(self, api: Api, rng: random.Random) -> bool:
        name = f"upload-{rng.getrandbits(64):016x}"
        content = _project(self._source, rng)
        self._ledger.uploads[name] = hashlib.sha256(content).hexdigest()
        answer = upload(api, name, content)
        if answer is None:
            return False
        self._ledger.versions.append(answer)
        return True

    def _redeploy(self, api: Api, rng: random.Random) -> bool:
        name = rng.choice(CHURNED)
        deployable = self._deployables[name]
        is_wanted = rng.random() < 0.7
        self._ledger.deployed[name] = None
        if is_wanted:
            answer = api.post("/v1/api/pipelines/deploy", json=deployable.request)
        else:
            body = {"pipeline_id": deployable.pipeline_id}
            answer = api.post("/v1/api/pipelines/undeploy", json=body)
        if answer is None:
            return False
        self._ledger.deployed[name] = is_wanted
        return True

    def _make_workspaces(self, api: Api, rng: random.Random) -> bool:
        name = f"workspace-{rng.getrandbits(64):016x}"
        self._ledger.workspaces.add(name)
        if api.post("/v1/api/workspaces/create", json={"workspace_name": name}) is None:
            return False
        self._ledger.acknowledged_workspaces.add(name)
        return True


def prepare(server: RunningServer, ledger: Ledger, folder: Path) -> Stage:
    """Upload the model, deploy every pipeline once and return what the clients need."""
    archive = pack_project(folder, "double", predict=_PREDICT)
    client = server.client()
    model = client.upload_model("double", archive, "custom", NUMBERS, DOUBLED)
    assert model.status() == "ready", model.error_summary()
    deployables = {
        name: _deployable(server, client.build_pipeline(name).add_model_step(model))
        for name in (LOAD, *CHURNED)
    }
    client.close()
    ledger.deployed = dict.fromkeys(deployables, True)
    ledger.uploads["double"] = hashlib.sha256(archive.read_bytes()).hexdigest()
    with zipfile.ZipFile(archive) as packed:
        return Stage(deployables, packed.read("model.py"))


def infer_path(name: str, deployable: Deployable) -> str:
    """Return the path of the pipeline's inferences."""
    return f"/v1/api/pipelines/infer/{deployable.address}/{name}"


def upload(api: Api, name: str, content: bytes) -> Uploaded | None:
    """Upload a zip; None when the server died before it answered."""
    metadata = {"name": name, "workspace_id": 1, "conversion": {"framework": "custom"}}
    files = {
        "metadata": (None, json.dumps(metadata), "application/json"),
        "file": (f"{name}.zip", content, "application/octet-stream"),
    }
    answer = api.post("/v1/api/models/upload_and_convert", files=files)
    if answer is None:
        return None
    version = answer["insert_models"]["returning"][0]["models"][0]
    return Uploaded(int(version["id"]), name, hashlib.sha256(content).hexdigest())


def _deployable(server: RunningServer, pipeline: Pipeline) -> Deployable:
    address = pipeline.deploy({"engine": {"cpu": 0.1}}).url().rsplit("/", 2)[1]
    request = deployment_request(server, pipeline)
    return Deployable(pipeline.id(), address, request)


def _project(source: bytes, rng: random.Random) -> bytes:
    """Return a zip with weights of some size that no other zip has."""
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("model.py", source)
        archive.writestr("requirements.txt", "")
        archive.writestr("weights.bin", rng.randbytes(rng.randint(1, _LARGEST_WEIGHTS)))
    return packed.getvalue()
