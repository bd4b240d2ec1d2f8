"""Seed 001: the requests code runs in the order of the document and answers what it shows."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import requests

from tests.fakes.servers import RunningServer
from tests.seeds.fraud_model import expected_scores, random_rows
from tests.seeds.projects import pack_zero_shot
from tests.seeds.session import SeedSession
from tests.seeds.shapes import assert_shape, shown_answer

pytestmark = pytest.mark.registry

FURTHER_ROWS = 1_001
"""More than a page of the log holds, so that there is a second one."""

_DEADLINE_S = 300.0


@dataclass
class Notebook:
    """What each snippet answered: its last value, and the variable ``response`` after it."""

    session: SeedSession
    server: RunningServer
    outcomes: dict[str, Any] = field(default_factory=dict)
    responses: dict[str, Any] = field(default_factory=dict)

    def run(self, file: str) -> Any:  # noqa: ANN401 - a snippet answers anything
        """Run a snippet and keep what it answered."""
        self.outcomes[file] = self.session.run(file)
        self.responses[file] = self.session.names.get("response")
        return self.outcomes[file]

    def name(self, name: str) -> Any:  # noqa: ANN401 - as above
        """Return a variable."""
        return self.session.names[name]

    def ask(self, route: str, **body: object) -> requests.Response:
        """Send a request that the document does not print."""
        header = {"Authorization": f"Bearer {self.server.token()}"}
        url = f"{self.server.url}/v1/api/{route}"
        return requests.post(url, json=body, headers=header, timeout=60)

    def wait_until_ready(self, version_id: int) -> dict[str, Any]:
        """Return a model version whose conversion has ended."""
        for _ in _attempts():
            answer = self.ask("models/get_version_by_id", model_version_id=version_id).json()
            found: dict[str, Any] = answer["model_version"]["model_version"]
            if found["status"] in ("ready", "error"):
                assert found["status"] == "ready", found["error_summary"]
                return found
        raise TimeoutError(f"model version {version_id} does not get ready")

    def wait_until_running(self) -> None:
        """Return when the deployment that the notebook speaks of runs."""
        address = f"{self.name('model_deploy_id')}-{self.name('model_deployment_id')}"
        for _ in _attempts():
            status = self.ask("status/get_deployment", name=address).json()["status"]
            if status == "Running":
                return
            assert status == "Starting", status
        raise TimeoutError(f"{address} does not run")


def _attempts() -> Iterator[None]:
    deadline = time.monotonic() + _DEADLINE_S
    while time.monotonic() < deadline:
        yield
        time.sleep(0.05)


@pytest.fixture(scope="module")
def notebook(
    seed_server: RunningServer, notebook_folder: Path, environment: pytest.MonkeyPatch
) -> Iterator[Notebook]:
    """Run the document up to the logs; what comes after stands in the tests."""
    del environment
    session = SeedSession(notebook_folder, {"server": seed_server.url})
    book = Notebook(session, seed_server)
    session.give(suffix="abcd", wait_until_running=book.wait_until_running)
    for file in (
        "001-0051-imports",
        "001-0075-variables",
        "001-0172-token-password",
        "001-0192-token-refresh",
        "001-0213-token-client-credentials",
        "001-0259-client",
        "001-0237-auth-header",
        "001-0275-api-url",
        "001-0485-list-workspaces",
        "001-0532-create-workspace",
        "001-0547-list-workspaces-again",
        "001-0770-upload-onnx-first-print",
        "001-3192-upload-onnx",
        "001-3298-create-empty-pipeline",
    ):
        book.run(file)
    _run_pipeline(book, "001-3192-upload-onnx")
    book.run("001-3456-status")
    book.run("001-3501-external-url")
    book.run("001-3546-infer-pandas")
    yield book
    session.close()


@pytest.fixture(scope="module")
def logged(notebook: Notebook) -> Notebook:
    """Read the log of one inference, then that of many."""
    now = datetime.now(UTC)
    start, end = now - timedelta(hours=1), now + timedelta(hours=1)
    notebook.session.give(
        main_pipeline_name=notebook.name("model_pipeline_name"),
        workspace_id=notebook.name("example_workspace_id"),
        shadow_date_start=start,
        shadow_date_end=end,
        ab_date_start=start,
        ab_date_end=end,
    )
    notebook.run("001-3697-logs")
    notebook.outcomes["one row"] = notebook.name("standard_logs")
    rows = [{"tensor": row} for row in random_rows(FURTHER_ROWS).tolist()]
    answer = requests.post(
        notebook.name("deployurl"),
        json=rows,
        headers={"Authorization": f"Bearer {notebook.server.token()}"},
        timeout=60,
    )
    assert answer.status_code == requests.codes.ok, answer.text
    notebook.run("001-3722-logs-ascending")
    notebook.outcomes["ascending"] = notebook.name("standard_logs")
    notebook.run("001-3752-logs-ascending-split")
    notebook.run("001-3802-logs-metadata")
    notebook.outcomes["descending"] = notebook.name("standard_logs")
    return notebook


@pytest.fixture(scope="module")
def converted(notebook: Notebook, tmp_path_factory: pytest.TempPathFactory) -> Notebook:
    """Upload, deploy and call a model that needs schemas: the second half of "Upload Model"."""
    archive = pack_zero_shot(tmp_path_factory.mktemp("zero-shot"))
    notebook.session.give(framework="custom", model_path=str(archive), model_name="zeroshot")
    notebook.run("001-0806-upload-converted-first-print")
    notebook.run("001-3224-upload-converted")
    notebook.session.names["response"] = notebook.name("response").json()
    notebook.session.names["model_pipeline_name"] = "pipelineconverted"
    notebook.responses["converted"] = notebook.name("response")
    _run_pipeline(notebook, "converted")
    notebook.run("001-3501-external-url")
    return notebook


def _run_pipeline(book: Notebook, uploaded: str) -> None:
    version = book.wait_until_ready(_uploaded_id(book.responses[uploaded]))
    book.session.give(
        example_model_version=version["file_info"]["version"],
        example_model_sha=version["file_info"]["sha"],
    )
    book.run("001-3319-create-pipeline-with-models")
    book.run("001-3415-deploy")


def _uploaded_id(answer: Any) -> int:  # noqa: ANN401 - JSON
    found: int = answer["insert_models"]["returning"][0]["models"][0]["id"]
    return found


def test_user_token_may_call_the_api(notebook: Notebook) -> None:
    answer = _list_workspaces(notebook, notebook.name("access_token"))
    assert answer.status_code == requests.codes.ok, answer.text


def test_inference_token_opens_the_inference_url_only(notebook: Notebook) -> None:
    token = notebook.name("inference_access_token")
    let_in = requests.post(
        notebook.name("deployurl"),
        json=[{"no": "tensor"}],
        headers={"Authorization": f"Bearer {token}"},
        timeout=30,
    )
    assert let_in.json()["type"] == "column_missing"
    assert _list_workspaces(notebook, token).status_code == requests.codes.forbidden


def _list_workspaces(notebook: Notebook, token: str) -> requests.Response:
    return requests.post(
        f"{notebook.server.url}/v1/api/workspaces/list",
        json={},
        headers={"Authorization": f"Bearer {token}"},
        timeout=30,
    )


def test_refreshing_gives_another_token(notebook: Notebook) -> None:
    first, second = notebook.session.displayed[:2]
    assert first != second
    assert notebook.name("refresh_token")


def test_sdk_gives_a_bearer_header(notebook: Notebook) -> None:
    header = notebook.session.displayed[3]
    assert isinstance(header, dict)
    assert list(header) == ["Authorization"]
    assert header["Authorization"].startswith("Bearer ")


def test_workspaces_are_listed_as_shown(notebook: Notebook) -> None:
    answer = notebook.outcomes["001-0547-list-workspaces-again"]
    shown = shown_answer("001-0497-list-workspaces")
    assert_shape(answer, shown)
    assert answer["workspaces"][-1]["name"] == "apiworkspaces"
    assert answer["workspaces"][-1]["id"] == notebook.name("example_workspace_id")
    assert (answer["workspaces"][-1]["models"], answer["workspaces"][-1]["pipelines"]) == ([], [])
    before = notebook.outcomes["001-0485-list-workspaces"]["workspaces"]
    assert [entry["id"] for entry in answer["workspaces"][:-1]] == [e["id"] for e in before]


def test_created_workspace_answers_its_id(notebook: Notebook) -> None:
    assert_shape(
        notebook.responses["001-0532-create-workspace"],
        shown_answer("001-0546-create-workspace"),
    )


@pytest.mark.parametrize("file", ["001-0770-upload-onnx-first-print", "001-3192-upload-onnx"])
def test_upload_of_a_native_model_answers_its_version(notebook: Notebook, file: str) -> None:
    assert_shape(notebook.responses[file], shown_answer("001-3271-upload"))


def test_uploading_again_makes_another_version(notebook: Notebook) -> None:
    first = _uploaded_id(notebook.responses["001-0770-upload-onnx-first-print"])
    second = _uploaded_id(notebook.responses["001-3192-upload-onnx"])
    assert first != second


@pytest.mark.parametrize(
    "file", ["001-3298-create-empty-pipeline", "001-3319-create-pipeline-with-models"]
)
def test_created_pipeline_answers_its_version(notebook: Notebook, file: str) -> None:
    assert_shape(notebook.outcomes[file], shown_answer("001-3316-create-pipeline"))


def test_deploying_answers_the_deployment(notebook: Notebook) -> None:
    assert_shape(notebook.responses["001-3415-deploy"], shown_answer("001-3445-deploy"))


def test_status_is_the_one_shown(notebook: Notebook) -> None:
    answer = notebook.outcomes["001-3456-status"]
    assert_shape(answer, shown_answer("001-3469-status"))
    engine = answer["engines"][0]
    assert answer["status"] == engine["status"] == "Running"
    assert engine["pipeline_statuses"]["pipelines"][0]["id"] == "pipelinemodels"
    model = engine["model_statuses"]["models"][0]
    assert (model["name"], model["status"]) == ("abcdccfraud", "Running")
    assert model["sha"] == notebook.name("example_model_sha")
    assert model["version"] == notebook.name("example_model_version")


def test_external_url_is_of_the_shown_form(notebook: Notebook) -> None:
    answer = notebook.responses["001-3501-external-url"]
    assert_shape(answer, shown_answer("001-3516-external-url"))
    address = f"pipelinemodels-{notebook.responses['001-3415-deploy']['id']}"
    expected = f"{notebook.server.url}/v1/api/pipelines/infer/{address}/pipelinemodels"
    assert answer["url"] == expected


def test_inference_answers_the_shown_columns(notebook: Notebook) -> None:
    frame = notebook.responses["001-3546-infer-pandas"]
    assert isinstance(frame, pd.DataFrame)
    assert {"time", "in", "out", "check_failures", "metadata"} <= set(frame.columns)
    row = frame.iloc[0]
    sent = notebook.name("data")[0]["tensor"]
    assert len(frame) == 1
    assert abs(int(row["time"]) - datetime.now(UTC).timestamp() * 1000) < 3_600_000
    assert row["in"]["tensor"] == pytest.approx(sent, rel=1e-6)
    assert list(row["out"]) == ["dense_1"]
    expected = expected_scores([sent])
    assert row["out"]["dense_1"] == pytest.approx(expected, rel=1e-4, abs=1e-6)
    assert row["check_failures"] == []


def test_inference_tells_model_and_timings(notebook: Notebook) -> None:
    metadata = notebook.responses["001-3546-infer-pandas"].iloc[0]["metadata"]
    assert json.loads(metadata["last_model"]) == {
        "model_name": "abcdccfraud",
        "model_sha": notebook.name("example_model_sha"),
    }
    assert isinstance(metadata["pipeline_version"], str)
    parse_ns, infer_ns = metadata["elapsed"]
    assert isinstance(parse_ns, int)
    assert isinstance(infer_ns, int)
    assert min(parse_ns, infer_ns) > 0


def test_log_holds_the_row_that_was_answered(logged: Notebook) -> None:
    answered = logged.responses["001-3546-infer-pandas"]
    log = logged.outcomes["one row"]
    assert len(log) == 1
    for column in ("time", "in", "out", "metadata", "check_failures"):
        expected, got = answered.iloc[0][column], log.iloc[0][column]
        if column == "metadata":
            assert got["dropped"] == []
            got = {key: got[key] for key in expected}
        assert got == expected, column


def test_log_that_fits_a_page_has_no_cursor(logged: Notebook) -> None:
    headers = logged.responses["001-3697-logs"].headers
    assert headers["x-iteration-status"] == "All"
    assert "x-iteration-cursor" not in headers


def test_log_is_newest_first_unless_asked_otherwise(logged: Notebook) -> None:
    oldest = logged.responses["001-3546-infer-pandas"].iloc[0]["out"]
    ascending, descending = logged.outcomes["ascending"], logged.outcomes["descending"]
    assert ascending.iloc[0]["out"] == oldest
    assert list(ascending["time"]) == sorted(ascending["time"])
    assert list(descending["time"]) == sorted(descending["time"], reverse=True)
    last = expected_scores(random_rows(FURTHER_ROWS))[-1]
    assert descending.iloc[0]["out"]["dense_1"] == pytest.approx([last], rel=1e-4, abs=1e-6)


def test_cursor_leads_through_the_whole_log(logged: Notebook) -> None:
    first = logged.responses["001-3802-logs-metadata"]
    assert first.headers["x-iteration-status"] == "RecordLimited"
    assert len(first.json()) == 1_000
    second = logged.ask(
        "pipelines/get_logs",
        pipeline_id=logged.name("main_pipeline_name"),
        workspace_id=logged.name("workspace_id"),
        cursor=logged.name("cursor"),
    )
    assert second.headers["x-iteration-status"] == "All"
    scores = [row["out"]["dense_1"][0] for row in [*first.json(), *second.json()]]
    expected = [
        logged.responses["001-3546-infer-pandas"].iloc[0]["out"]["dense_1"][0],
        *expected_scores(random_rows(FURTHER_ROWS)),
    ]
    assert scores == pytest.approx(expected[::-1], rel=1e-4, abs=1e-6)


@pytest.mark.parametrize(
    "file", ["001-0806-upload-converted-first-print", "001-3224-upload-converted"]
)
def test_upload_with_schemas_answers_its_version(converted: Notebook, file: str) -> None:
    answer = converted.responses[file]
    if isinstance(answer, requests.Response):
        answer = answer.json()
    assert_shape(answer, shown_answer("001-3271-upload"))


def test_converted_model_takes_and_gives_the_declared_columns(converted: Notebook) -> None:
    row = {
        "inputs": "abc",
        "candidate_labels": ["xyz", "abz"],
        "hypothesis_template": "This is {}",
        "multi_label": False,
    }
    answer = requests.post(
        converted.name("deployurl"),
        json=[row],
        headers={"Authorization": f"Bearer {converted.server.token()}"},
        timeout=60,
    )
    assert answer.status_code == requests.codes.ok, answer.text
    assert answer.json()[0]["in"] == row
    assert answer.json()[0]["out"] == {
        "sequence": "abc",
        "scores": [2 / 3, 0.0],
        "labels": ["abz", "xyz"],
    }


def test_undeploying_ends_the_deployment(converted: Notebook) -> None:
    address = f"{converted.name('model_deploy_id')}-{converted.name('model_deployment_id')}"
    assert converted.ask("status/get_deployment", name=address).status_code == requests.codes.ok
    assert converted.run("001-3616-undeploy") == {}
    gone = converted.ask("status/get_deployment", name=address)
    assert gone.status_code == requests.codes.not_found
    refused = converted.ask(f"pipelines/infer/{address}/pipelineconverted")
    assert refused.status_code == requests.codes.not_found
