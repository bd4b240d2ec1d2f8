"""Secrets are where they must be and nowhere else: canaries are planted, then looked for."""

import base64
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pyarrow as pa
import pytest
import requests

from byop.client.deployment_config import DeploymentConfigBuilder
from byop.client.model_version import ModelVersion
from byop.client.pipeline import Pipeline
from byop.errors import ByopError
from tests.acceptance.projects import pack_project
from tests.fakes.servers import TOKEN_PATH, RunningServer, running_server

pytestmark = pytest.mark.registry

TEXT = pa.schema([pa.field("text", pa.string())])
PID = pa.schema([pa.field("pid", pa.int64())])

_PRINT_ALL = "print(dict(os.environ), flush=True)\nprint(os.environ.get('KEY'), flush=True)\n"
_PREDICT = (
    _PRINT_ALL
    + """
text = input_data["text"][0]
if text == "raise":
    raise ValueError(f"the service refused {os.environ['KEY']} and {os.environ['ACCOUNT']}")
if text == "raise in parts":
    raise ValueError([os.environ["KEY"], repr(os.environ["ACCOUNT"]).encode()])
return {"pid": np.full(len(input_data["text"]), os.getpid())}
"""
)
_REFUSE_TO_LOAD = _PRINT_ALL + "if 'KEY' in os.environ:\n    raise ValueError(os.environ['KEY'])\n"


_REFUSED = (requests.codes.bad_request, requests.codes.unauthorized)


@dataclass
class Canaries:
    """Values that must not be seen. The account is a text of several lines, as a key file is."""

    key: str = field(default_factory=lambda: _canary("key"))
    account: tuple[str, str] = field(default_factory=lambda: (_canary("line1"), _canary("line2")))
    outside: str = field(default_factory=lambda: _canary("outside"))
    admin_password: str = field(default_factory=lambda: _canary("password"))
    wrong_password: str = field(default_factory=lambda: _canary("wrong"))
    wrong_token: str = field(default_factory=lambda: _canary("forged"))

    def of_deployment(self) -> list[str]:
        """Return what only the deployed model may know."""
        return [self.key, *self.account]


@dataclass
class Scene:
    """A server with planted canaries, after everything that might let one out."""

    server: RunningServer
    canaries: Canaries
    bearer: str
    answers: list[str]

    def secrets(self) -> list[str]:
        """Return every text that must not be found, in each form that is looked for."""
        kept = self.server.credentials()
        plain = [
            *self.canaries.of_deployment(),
            self.canaries.outside,
            self.canaries.admin_password,
            self.canaries.wrong_password,
            self.canaries.wrong_token,
            kept["confidentialPassword"],
            self.bearer,
            self.bearer.rpartition(".")[2],
        ]
        encoded = [base64.b64encode(text.encode()).decode().rstrip("=") for text in plain]
        return plain + encoded


def _canary(name: str) -> str:
    return f"canary{name}{secrets.token_hex(12)}"


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("secrets")
    canaries = Canaries()
    outside = {
        "HOSTED_LLM_KEY": canaries.outside,
        "BYOP_ADMIN_PASSWORD": canaries.admin_password,
        "BYOP_LOG_LEVEL": "DEBUG",
    }
    with running_server(folder / "home", outside) as server:
        yield _play(server, folder, canaries)


def _play(server: RunningServer, folder: Path, canaries: Canaries) -> Scene:
    """Deploy models that know secrets and talk about them; ask for everything there is."""
    answers: list[str] = []
    bearer = server.token()
    header = {"Authorization": f"Bearer {bearer}"}
    client = server.client()
    archive = pack_project(folder, "talker", predict=_PREDICT, create=_PRINT_ALL)
    broken = pack_project(folder, "broken", predict=_PREDICT, create=_REFUSE_TO_LOAD)
    environment = {"KEY": canaries.key, "ACCOUNT": "\n".join(canaries.account)}
    addresses = []
    for name, path, variables in (
        ("informed", archive, environment),
        ("uninformed", archive, {}),
        ("broken", broken, environment),
    ):
        model = client.upload_model(name, path, "custom", TEXT, PID)
        assert model.status() == "ready", model.error_summary()
        config = DeploymentConfigBuilder().sidekick_env(model, variables).build()
        answers += [repr(config), str(config), f"{model!r}"]
        pipeline = client.build_pipeline(name).add_model_step(model)
        wrong_name = {"env": [{"name": "A=B", "value": canaries.key}]}
        images = {f"{name}-{model.id()}": wrong_name}
        refused = _deploy(pipeline, {"engine": {}, "engineAux": {"images": images}})
        assert refused
        answers += refused
        refusals = _deploy(pipeline, config)
        assert bool(refusals) == (name == "broken")
        answers += refusals
        addresses.append((name, model, pipeline.url()))
    for name, model, url in addresses:
        for text in ("say", "raise", "raise in parts"):
            answer = requests.post(url, json=[{"text": text}], headers=header, timeout=60)
            answers.append(_all_of(answer))
        answers += _ask_about(server, header, name, model, url)
    answers += _try_to_get_in(server, canaries, url=addresses[0][2])
    return Scene(server, canaries, bearer, answers)


def _deploy(pipeline: Pipeline, config: Mapping[str, object]) -> list[str]:
    """Deploy and return what the refusal says, if there is one."""
    try:
        pipeline.deploy(config)
    except ByopError as error:
        return [str(error), repr(error), repr(error.facts)]
    return []


def _ask_about(
    server: RunningServer, header: dict[str, str], name: str, model: ModelVersion, url: str
) -> list[str]:
    deployment = url.split("/")[-2]
    questions: dict[str, dict[str, object]] = {
        "models/get_version_by_id": {"model_version_id": model.id()},
        "status/get_deployment": {"name": deployment},
        "pipelines/get_logs": {"pipeline_id": name, "workspace_id": 1},
    }
    return [
        _all_of(
            requests.post(f"{server.url}/v1/api/{route}", json=body, headers=header, timeout=60)
        )
        for route, body in questions.items()
    ]


def _try_to_get_in(server: RunningServer, canaries: Canaries, *, url: str) -> list[str]:
    """Use wrong secrets in every place that takes one."""
    kept = server.credentials()
    form = {
        "grant_type": "password",
        "client_id": "sdk-client",
        "username": kept["username"],
        "password": canaries.wrong_password,
    }
    wrong_client = (kept["confidentialClient"], canaries.wrong_password)
    forged = {"Authorization": f"Bearer {canaries.wrong_token}"}
    answers = [
        requests.post(server.url + TOKEN_PATH, data=form, timeout=60),
        requests.post(server.url + TOKEN_PATH, data=form, auth=wrong_client, timeout=60),
        requests.post(url, json=[{"text": "x"}], headers=forged, timeout=60),
        requests.post(f"{server.url}/v1/api/workspaces/list", json={}, headers=forged, timeout=60),
    ]
    assert all(answer.status_code in _REFUSED for answer in answers)
    public = [requests.get(server.url + path, timeout=60) for path in ("/metrics", "/health")]
    return [_all_of(answer) for answer in (*answers, *public)]


def _all_of(answer: requests.Response) -> str:
    return f"{answer.status_code} {answer.headers} {answer.text}"


def found_in(text: str, wanted: list[str]) -> list[str]:
    """Return those of ``wanted`` that stand in ``text``."""
    return [value for value in wanted if value in text]


def environment_of(pid: int) -> str:
    """Return the environment that a process was started with."""
    return Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")


def test_the_models_did_talk(scene: Scene) -> None:
    logs = "".join(path.read_text() for path in _files(scene, "worker-logs"))
    assert "KEY" in logs
    assert "***" in logs
    assert any("the service refused ***" in answer for answer in scene.answers)


def test_no_answer_holds_a_secret(scene: Scene) -> None:
    assert len(scene.answers) > 20
    assert found_in("\n".join(scene.answers), scene.secrets()) == []


def test_no_log_holds_a_secret(scene: Scene) -> None:
    assert "deployed" in scene.server.log_text()
    assert found_in(scene.server.log_text(), scene.secrets()) == []


def test_no_file_holds_a_secret_unsealed(scene: Scene) -> None:
    """The one exception is the file that tells the operator the first credentials."""
    paths = [path for path in _files(scene, "") if path.name != "initial-credentials.json"]
    names = {path.name for path in paths}
    assert {"metadata.sqlite3", "inference-log.sqlite3"} <= names
    leaks = {
        str(path): found
        for path in paths
        if (found := found_in(path.read_bytes().decode(errors="replace"), scene.secrets()))
    }
    assert leaks == {}


def test_files_are_readable_by_their_owner_only(scene: Scene) -> None:
    assert (scene.server.home.stat().st_mode & 0o077) == 0
    credentials = scene.server.home / "initial-credentials.json"
    assert (credentials.stat().st_mode & 0o077) == 0


def test_no_argument_of_a_process_is_a_secret(scene: Scene) -> None:
    lines = []
    for pid in psutil.pids():
        try:
            lines.append(Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace"))
        except (FileNotFoundError, ProcessLookupError):
            continue
    assert any("byop" in line for line in lines)
    assert found_in("\n".join(lines), scene.secrets()) == []


def test_no_worker_shows_a_secret_in_its_environment(scene: Scene) -> None:
    workers = scene.server.workers()
    assert len(workers) >= 2
    for worker in workers:
        assert found_in(environment_of(worker.pid), scene.secrets()) == []


def _files(scene: Scene, folder: str) -> list[Path]:
    return [path for path in (scene.server.home / folder).rglob("*") if path.is_file()]
