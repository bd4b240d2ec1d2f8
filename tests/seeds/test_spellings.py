"""Seed 001 spells some parameters differently in its tables and in its examples: both work."""

import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import requests

from byop.client.model_version import ModelVersion
from tests.fakes.servers import RunningServer
from tests.seeds.fraud_model import random_rows
from tests.seeds.projects import pack_zero_shot

pytestmark = pytest.mark.registry

INPUTS = pa.schema(
    [
        pa.field("inputs", pa.string()),
        pa.field("candidate_labels", pa.list_(pa.string(), 2)),
        pa.field("hypothesis_template", pa.string()),
        pa.field("multi_label", pa.bool_()),
    ]
)
OUTPUTS = pa.schema(
    [
        pa.field("sequence", pa.string()),
        pa.field("scores", pa.list_(pa.float64(), 2)),
        pa.field("labels", pa.list_(pa.string(), 2)),
    ]
)
_DEADLINE_S = 300.0


class Api:
    """Requests of the administrator in a workspace of their own."""

    def __init__(self, server: RunningServer) -> None:
        self._url = server.url
        self.header = {"Authorization": f"Bearer {server.token()}"}
        client = server.client()
        workspace = client.get_workspace("spellings", create_if_not_exist=True)
        client.set_current_workspace(workspace)
        self.client = client
        self.workspace_id = workspace.id()

    def ask(self, route: str, **body: object) -> requests.Response:
        """Send a JSON request."""
        url = f"{self._url}/v1/api/{route}"
        return requests.post(url, json=body, headers=self.header, timeout=60)

    def answer(self, route: str, **body: object) -> Any:  # noqa: ANN401 - JSON
        """Return the answer to a request that works."""
        answer = self.ask(route, **body)
        assert answer.ok, answer.text
        return answer.json()

    def upload(self, metadata: dict[str, object], path: Path) -> dict[str, Any]:
        """Return the model version and configuration of an upload, once it is ready."""
        with path.open("rb") as file:
            parts: dict[str, tuple[str | None, Any, str]] = {
                "metadata": (None, json.dumps(metadata), "application/json"),
                "file": (path.name, file, "application/octet-stream"),
            }
            answer = requests.post(
                f"{self._url}/v1/api/models/upload_and_convert",
                files=parts,
                headers=self.header,
                timeout=60,
            )
        assert answer.ok, answer.text
        version_id = answer.json()["insert_models"]["returning"][0]["models"][0]["id"]
        deadline = time.monotonic() + _DEADLINE_S
        while True:
            found = self.answer("models/get_version_by_id", model_version_id=version_id)
            details: dict[str, Any] = found["model_version"]
            if details["model_version"]["status"] in ("ready", "error"):
                return details
            assert time.monotonic() < deadline, details
            time.sleep(0.05)

    def wait_until_running(self, address: str) -> None:
        """Return when the deployment runs."""
        deadline = time.monotonic() + _DEADLINE_S
        while self.answer("status/get_deployment", name=address)["status"] != "Running":
            assert time.monotonic() < deadline, address
            time.sleep(0.05)


@pytest.fixture(scope="module")
def api(seed_server: RunningServer) -> Iterator[Api]:
    api = Api(seed_server)
    yield api
    api.client.close()


@pytest.fixture(scope="module")
def fraud(api: Api, notebook_folder: Path) -> ModelVersion:
    model = api.client.upload_model("fraud", notebook_folder / "ccfraud.onnx", "onnx")
    assert model.status() == "ready", model.error_summary()
    return model


@pytest.fixture(scope="module")
def zero_shot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pack_zero_shot(tmp_path_factory.mktemp("zero-shot"))


def _base64(schema: pa.Schema) -> str:
    return base64.b64encode(schema.serialize().to_pybytes()).decode()


@pytest.mark.parametrize("place", ["beside the conversion", "in the conversion"])
def test_schemas_are_read_from_both_places(api: Api, zero_shot: Path, place: str) -> None:
    schemas: dict[str, object] = {
        "input_schema": _base64(INPUTS),
        "output_schema": _base64(OUTPUTS),
    }
    conversion: dict[str, object] = {
        "framework": "custom",
        "python_version": "3.8",
        "requirements": [],
    }
    metadata: dict[str, object] = {
        "name": "zero-shot",
        "visibility": "private",
        "workspace_id": api.workspace_id,
        "conversion": conversion,
    }
    (conversion if place == "in the conversion" else metadata).update(schemas)
    details = api.upload(metadata, zero_shot)
    assert details["model_version"]["status"] == "ready", details
    assert {key: details["config"][key] for key in schemas} == schemas


def test_workspace_id_may_be_text(api: Api, notebook_folder: Path) -> None:
    """The table of the upload calls it "String Required", the example sends a number."""
    metadata: dict[str, object] = {
        "name": "by-text",
        "visibility": "public",
        "workspace_id": str(api.workspace_id),
        "conversion": {"framework": "onnx", "python_version": "3.8", "requirements": "[]"},
    }
    details = api.upload(metadata, notebook_folder / "ccfraud.onnx")
    assert details["model_version"]["workspace_id"] == api.workspace_id


@pytest.mark.parametrize("is_text", [False, True])
def test_engine_config_may_be_an_object_or_text(
    api: Api, zero_shot: Path, *, is_text: bool
) -> None:
    """The table calls it a string and shows an object."""
    model = api.client.upload_model("replicated", zero_shot, "custom", INPUTS, OUTPUTS)
    name = "engine-config"
    config = {"cpus": 1, "replica_count": 2, "memory": "999Mi"}
    reference = {"name": model.name(), "version": model.version(), "sha": model.sha()}
    created = api.answer(
        "pipelines/create",
        pipeline_id=name,
        workspace_id=api.workspace_id,
        definition={"steps": [{"ModelInference": {"models": [reference]}}]},
    )
    deployment = api.answer(
        "pipelines/deploy",
        deploy_id=name,
        pipeline_id=created["pipeline_pk_id"],
        pipeline_version_pk_id=created["pipeline_variant_pk_id"],
        engine_config=json.dumps(config) if is_text else config,
    )
    address = f"{name}-{deployment['id']}"
    api.wait_until_running(address)
    status = api.answer("status/get_deployment", name=address)
    assert len(status["sidekicks"]) == config["replica_count"]
    api.answer("pipelines/undeploy", deployment_id=deployment["id"])


@pytest.mark.parametrize("naming", ["models", "model_ids", "model_configs"])
def test_models_may_be_named_when_deploying(api: Api, fraud: ModelVersion, naming: str) -> None:
    """The pipeline of "Create Pipeline" without models is deployed with some."""
    name = f"named-by-{naming.replace('_', '-')}"
    created = api.answer(
        "pipelines/create", pipeline_id=name, workspace_id=api.workspace_id, definition={}
    )
    reference = {"name": fraud.name(), "version": fraud.version(), "sha": fraud.sha()}
    deployment = api.answer(
        "pipelines/deploy",
        deploy_id=name,
        pipeline_id=created["pipeline_pk_id"],
        pipeline_version_pk_id=created["pipeline_variant_pk_id"],
        **{naming: [reference if naming == "models" else fraud.id()]},
    )
    api.wait_until_running(f"{name}-{deployment['id']}")
    answer = api.answer(
        f"pipelines/infer/{name}-{deployment['id']}/{name}", tensor=random_rows(2).tolist()
    )
    assert len(answer) == 2
    api.answer("pipelines/undeploy", pipeline_id=created["pipeline_pk_id"])


@pytest.mark.parametrize("order", ["Asc", "asc", "Desc", "desc"])
def test_order_of_a_log_may_be_written_both_ways(api: Api, fraud: ModelVersion, order: str) -> None:
    name = f"order-{order.encode().hex()}"
    pipeline = api.client.build_pipeline(name).add_model_step(fraud).deploy()
    rows = random_rows(3).tolist()
    pipeline.infer([{"tensor": row} for row in rows])
    pipeline.undeploy()
    log = api.answer(
        "pipelines/get_logs",
        pipeline_id=pipeline.name(),
        workspace_id=api.workspace_id,
        order=order,
    )
    got = [row["in"]["tensor"][0] for row in log]
    expected = [row[0] for row in rows]
    assert got == pytest.approx(expected if order in ("Asc", "asc") else expected[::-1])
