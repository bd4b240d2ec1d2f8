"""Model projects on a running server: uploaded, deployed, asked over plain HTTP."""

import sqlite3
import time
from pathlib import Path

import pyarrow as pa
import requests

from byop.client.pipeline import Pipeline
from byop.wire.definitions import definition_of
from tests.acceptance.projects import pack_project
from tests.fakes.servers import RunningServer

NUMBERS = pa.schema([pa.field("number", pa.int64())])
DOUBLED = pa.schema([pa.field("doubled", pa.int64()), pa.field("pid", pa.int64())])

_DEADLINE_S = 60.0


def deploy(
    server: RunningServer, folder: Path, name: str, predict: str, **variables: str
) -> Pipeline:
    """Return the pipeline of a new model."""
    client = server.client()
    archive = pack_project(folder, name, predict=predict)
    model = client.upload_model(name, archive, "custom", NUMBERS, DOUBLED)
    assert model.status() == "ready", model.error_summary()
    images = {f"{name}-{model.id()}": {"env": variables}}
    config = {"engine": {}, "engineAux": {"images": images}}
    return client.build_pipeline(name).add_model_step(model).deploy(config)


def deployment_request(server: RunningServer, pipeline: Pipeline) -> dict[str, object]:
    """Return the body that deploys the steps of a pipeline of the first workspace."""
    created = requests.post(
        f"{server.url}/v1/api/pipelines/create",
        json={
            "pipeline_id": pipeline.name(),
            "workspace_id": 1,
            "definition": definition_of(pipeline.name(), pipeline.steps()),
        },
        headers={"Authorization": f"Bearer {server.token()}"},
        timeout=120,
    )
    created.raise_for_status()
    return {
        "deploy_id": pipeline.name(),
        "pipeline_id": pipeline.id(),
        "pipeline_version_pk_id": created.json()["pipeline_variant_pk_id"],
        "engine_config": {"engine": {"cpu": 0.1}},
    }


def open_read_only(path: Path) -> sqlite3.Connection:
    """Return a connection to a database that a server has open, perhaps."""
    return sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)


def infer(server: RunningServer, url: str, *numbers: int) -> requests.Response:
    """Send the numbers in one request."""
    return requests.post(
        url,
        json=[{"number": number} for number in numbers],
        headers={"Authorization": f"Bearer {server.token()}"},
        timeout=120,
    )


def infer_until_running(server: RunningServer, url: str, number: int) -> requests.Response:
    """Return the first answer that is none of a model which still starts."""
    deadline = time.monotonic() + _DEADLINE_S
    while True:
        answer = infer(server, url, number)
        if answer.ok or time.monotonic() > deadline:
            assert answer.ok, answer.text
            return answer
        time.sleep(0.05)
