"""A server that stops and starts again runs what ran, with the same secrets, and no more."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest
import requests

from byop.client.client import Client
from byop.client.deployment_config import DeploymentConfigBuilder
from byop.errors import ModelNotRunningError, NotFoundError
from tests.acceptance.projects import pack_project
from tests.fakes.servers import RunningServer, running_server

pytestmark = pytest.mark.registry

TEXT = pa.schema([pa.field("text", pa.string())])
KEY = "a-key-that-lives-on"
_PREDICT = """
    keys = [os.environ.get("KEY", "")] * len(input_data["text"])
    return {"text": np.array(keys)}
"""
_DEADLINE_S = 60.0


@dataclass
class Restarted:
    """The server after the restart, and inference URLs from before it."""

    server: RunningServer
    client: Client
    urls: dict[str, str]


@pytest.fixture(scope="module")
def restarted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Restarted]:
    folder = tmp_path_factory.mktemp("restart")
    with running_server(folder / "home") as server:
        urls = _deploy(server, pack_project(folder, "teller", predict=_PREDICT))
    with running_server(folder / "home") as server:
        client = server.client()
        yield Restarted(server, client, urls)
        client.close()


def _deploy(server: RunningServer, archive: Path) -> dict[str, str]:
    """Deploy a pipeline of steps, one that is undeployed, one whose model the deployment names."""
    client = server.client()
    model = client.upload_model("teller", archive, "custom", TEXT, TEXT)
    assert model.status() == "ready", model.error_summary()
    config = DeploymentConfigBuilder().sidekick_env(model, {"KEY": KEY}).build()
    stepped = client.build_pipeline("stepped").add_model_step(model).deploy(config)
    stepped.infer({"text": ["before"]})
    ended = client.build_pipeline("ended").add_model_step(model).deploy()
    urls = {"stepped": stepped.url(), "ended": ended.url()}
    ended.undeploy()
    named = client.build_pipeline("named")
    answer = requests.post(
        f"{server.url}/v1/api/pipelines/deploy",
        json={
            "deploy_id": "named",
            "pipeline_id": named.id(),
            "pipeline_version_pk_id": _empty_version(server, client),
            "engine_config": config,
            "model_ids": [model.id()],
        },
        headers=client.auth.auth_header(),
        timeout=60,
    )
    assert answer.ok, answer.text
    client.close()
    return urls


def _empty_version(server: RunningServer, client: Client) -> int:
    answer = requests.post(
        f"{server.url}/v1/api/pipelines/create",
        json={
            "pipeline_id": "named",
            "workspace_id": client.get_current_workspace().id(),
            "definition": {},
        },
        headers=client.auth.auth_header(),
        timeout=60,
    )
    found: int = answer.json()["pipeline_variant_pk_id"]
    return found


@pytest.mark.parametrize("name", ["stepped", "named"])
def test_what_ran_runs_again_with_its_secrets(restarted: Restarted, name: str) -> None:
    pipeline = restarted.client.build_pipeline(name)
    deadline = time.monotonic() + _DEADLINE_S
    while pipeline.status()["status"] == "Starting" and time.monotonic() < deadline:
        time.sleep(0.05)
    answer = pipeline.infer({"text": ["after"]})
    assert [row["out.text"] for row in answer] == [KEY]


def test_address_outlives_the_restart(restarted: Restarted) -> None:
    path = restarted.client.build_pipeline("stepped").url().partition("/v1/")[2]
    assert path == restarted.urls["stepped"].partition("/v1/")[2]


def test_what_was_undeployed_stays_so(restarted: Restarted) -> None:
    with pytest.raises((NotFoundError, ModelNotRunningError)):
        restarted.client.build_pipeline("ended").infer({"text": ["after"]})


def test_log_from_before_the_restart_is_there(restarted: Restarted) -> None:
    log = restarted.client.build_pipeline("stepped").logs(arrow=True)
    assert "before" in log["in.text"].to_pylist()


def test_credentials_are_those_of_the_first_start(restarted: Restarted) -> None:
    assert restarted.server.token()
