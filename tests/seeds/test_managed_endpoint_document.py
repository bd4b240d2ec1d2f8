"""Seed 004: its BYOP code, schemas, deployment configuration and two-model pipeline."""

import json
import re
import shlex
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
import requests

from byop.bundle.archive import pack
from byop.bundle.shipped import project_folder
from byop.domain.models import Framework
from tests.fakes.managed_endpoint import ManagedEndpoint, answer_to, managed_endpoint
from tests.fakes.servers import RunningServer
from tests.seeds.corrections import read_snippet
from tests.seeds.projects import pack_managed_endpoint
from tests.seeds.session import SeedSession

pytestmark = pytest.mark.registry

PROMPTS = ["What happened to the Serge llama?", "How are you doing?"]
ANSWERS = [answer_to(prompt) for prompt in PROMPTS]
INPUTS = pa.schema([pa.field("text", pa.string())])
OUTPUTS = pa.schema([pa.field("generated_text", pa.string())])
SCORED = pa.schema(
    [
        pa.field("generated_text", pa.string()),
        pa.field("profanity", pa.float32()),
        pa.field("toxicity", pa.float32()),
    ]
)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[ManagedEndpoint]:
    with managed_endpoint() as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def notebook(
    seed_server: RunningServer,
    endpoint: ManagedEndpoint,
    environment: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[SeedSession]:
    """Give a notebook that has uploaded the model."""
    folder = tmp_path_factory.mktemp("managed-endpoint")
    (folder / "credentials.json").write_text(json.dumps(endpoint.service_account()))
    environment.setenv("WALLAROO_URL", seed_server.url)
    kept = seed_server.home / "initial-credentials.json"
    environment.setenv("WALLAROO_SDK_CREDENTIALS", str(kept))
    session = SeedSession(folder, {"server": seed_server.url})
    objects = pack_managed_endpoint(folder, endpoint=f"{endpoint.url}/predict/objects", name="byop")
    session.give(
        llm_model_name="managed-endpoint",
        llm_file_path=str(objects),
        llm_input_schema=INPUTS,
        llm_output_schema=OUTPUTS,
        llm_framework=Framework.CUSTOM,
    )
    session.run("004-0064-upload")
    model: Any = session.names["llm_model"]
    assert model.status() == "ready", model.error_summary()
    yield session
    session.close()


@pytest.fixture(scope="module")
def deployed(notebook: SeedSession) -> Iterator[SeedSession]:
    """Deploy the one-step pipeline."""
    notebook.run("004-0114-deploy")
    pipeline: Any = notebook.names["pipeline"]
    yield notebook
    pipeline.undeploy()


@pytest.fixture(scope="module")
def monitored(
    notebook: SeedSession, endpoint: ManagedEndpoint, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SeedSession]:
    """Deploy the two-step pipeline; this time the endpoint answers plain texts."""
    folder = tmp_path_factory.mktemp("monitored")
    texts = pack_managed_endpoint(folder, endpoint=f"{endpoint.url}/predict/texts", name="byop")
    listener = pack(project_folder("toxicity"), folder / "toxicity.zip").path
    notebook.give(
        model_name="managed-endpoint",
        file_path=str(texts),
        input_schema=INPUTS,
        output_schema=OUTPUTS,
        framework=Framework.CUSTOM,
        validation_model_name="toxicity",
        validation_file_path=str(listener),
        validation_input_schema=OUTPUTS,
        validation_output_schema=SCORED,
        validation_framework=Framework.CUSTOM,
    )
    notebook.run("004-0184-monitoring")
    pipeline: Any = notebook.names["pipeline"]
    yield notebook
    pipeline.undeploy()


def test_upload_command_holds_what_is_shown(notebook: SeedSession) -> None:
    command = str(notebook.run("004-0092-upload-command"))
    arguments = shlex.split(command)
    fields = dict(value.split("=", 1) for option, value in pairwise(arguments) if option == "-F")
    metadata = json.loads(fields["metadata"].removesuffix(";type=application/json"))
    shown = read_snippet("004-0096-upload-command.answer")
    assert arguments[0] == "curl"
    assert arguments[-1].endswith("/v1/api/models/upload_and_convert")
    assert fields["file"] == "@llama_byop.zip;type=application/octet-stream"
    assert metadata["name"] == "sample_model_name"
    assert metadata["visibility"] == "private"
    assert metadata["conversion"].items() >= {"framework": "custom", "requirements": []}.items()
    for key in ("input_schema", "output_schema"):
        assert metadata[key] == re.findall(f'"{key}": "([^"]+)"', shown)[0]


def test_inference_calls_the_hosted_model_with_the_deployed_credentials(
    deployed: SeedSession, endpoint: ManagedEndpoint
) -> None:
    frame = deployed.run("004-0134-infer")
    assert isinstance(frame, pd.DataFrame)
    assert list(frame.columns) == ["time", "in.text", "out.generated_text", "anomaly.count"]
    assert list(frame["in.text"]) == PROMPTS
    assert list(frame["out.generated_text"]) == ANSWERS
    assert endpoint.prompts[-2:] == PROMPTS
    assert endpoint.scopes == {"https://SERVICE_URL"}


def test_record_with_equal_lists_is_expanded_to_rows(
    deployed: SeedSession, seed_server: RunningServer
) -> None:
    pipeline: Any = deployed.names["pipeline"]
    filled_in = {"inference_url": pipeline.url(), "token": seed_server.token()}
    session = SeedSession(Path(), filled_in)
    answer = _curl(session.code("004-0164-curl-infer"))
    assert answer.status_code == requests.codes.ok, answer.text
    rows = answer.json()
    assert [row["in"]["text"] for row in rows] == PROMPTS
    assert [row["out"]["generated_text"] for row in rows] == ANSWERS


def test_listener_scores_what_the_hosted_model_answered(monitored: SeedSession) -> None:
    frame = monitored.run("004-0134-infer")
    assert isinstance(frame, pd.DataFrame)
    assert list(frame["out.generated_text"]) == ANSWERS
    for column in ("out.profanity", "out.toxicity"):
        assert frame[column].between(0, 1).all()
    assert list(frame["out.toxicity"]) == list(frame["out.profanity"])


def test_scored_answers_are_in_the_log(monitored: SeedSession) -> None:
    answered = monitored.run("004-0134-infer")
    assert isinstance(answered, pd.DataFrame)
    pipeline: Any = monitored.names["pipeline"]
    log = pipeline.logs(limit=2)
    assert sorted(log["out.generated_text"]) == sorted(answered["out.generated_text"])
    assert sorted(log["out.toxicity"]) == sorted(answered["out.toxicity"])


def _curl(command: str) -> requests.Response:
    """Send what the curl command sends: it uses ``-H`` and ``--data`` only."""
    program, url, *options = shlex.split(command.replace("\\\n", " "))
    assert program == "curl"
    headers: dict[str, str] = {}
    body = ""
    for option, value in zip(options[::2], options[1::2], strict=True):
        match option:
            case "-H":
                name, _, text = value.partition(":")
                headers[name] = text.strip()
            case "--data":
                body = value
            case _:
                raise AssertionError(option)
    return requests.post(url, data=body.encode(), headers=headers, timeout=60)
