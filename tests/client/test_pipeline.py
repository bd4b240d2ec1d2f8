import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from byop.client import (
    Client,
    DeploymentConfig,
    DeploymentConfigBuilder,
    Framework,
    ModelVersion,
    Pipeline,
)
from byop.errors import (
    ApiError,
    ColumnMissingError,
    InvalidInputError,
    InvalidPipelineError,
    ModelNotRunningError,
    NotFoundError,
)
from byop.wire.errors import problem_body
from tests.fakes.api_server import (
    ApiServer,
    Received,
    Scripted,
    arrow_file,
    deployment,
    problem,
)

BIG = 2**53 + 1
CREATE = "/v1/api/pipelines/create"
DEPLOY = "/v1/api/pipelines/deploy"
STATUS = "/v1/api/status/get_deployment"
INFER = "/v1/api/pipelines/infer/chat-5/chat"
RECORDS = "application/json; format=pandas-records"
ARROW = "application/vnd.apache.arrow.file"
CONFIG = DeploymentConfigBuilder().cpus(1).build()


@pytest.fixture
def model(client: Client, tmp_path: Path) -> ModelVersion:
    path = tmp_path / "echo.zip"
    path.write_bytes(b"zip")
    return client.upload_model("echo", path, Framework.CUSTOM)


@pytest.fixture
def pipeline(client: Client, model: ModelVersion) -> Pipeline:
    return client.build_pipeline("chat").add_model_step(model)


@pytest.fixture
def deployed(pipeline: Pipeline) -> Pipeline:
    return pipeline.deploy()


def last(api: ApiServer, path: str) -> Received:
    return api.sent_to(path)[-1]


def test_build_pipeline_makes_it_in_the_current_workspace(api: ApiServer, client: Client) -> None:
    pipeline = client.build_pipeline("chat")
    assert last(api, CREATE).json() == {
        "pipeline_id": "chat",
        "workspace_id": 1,
        "definition": {},
    }
    assert (pipeline.id(), pipeline.name(), pipeline.steps()) == (3, "chat", [])


def test_steps_are_stored_by_deploy(api: ApiServer, pipeline: Pipeline) -> None:
    pipeline.deploy()
    named = {"name": "echo", "version": "0b989008-5f1d-453e-8085-98d97be1b722", "sha": "bc85ce59"}
    assert last(api, CREATE).json() == {
        "pipeline_id": "chat",
        "workspace_id": 1,
        "definition": {"id": "chat", "steps": [{"ModelInference": {"models": [named]}}]},
    }
    assert last(api, DEPLOY).json() == {
        "deploy_id": "chat",
        "engine_config": {},
        "pipeline_version_pk_id": 32,
        "pipeline_id": 3,
    }


def test_clear_removes_the_steps(pipeline: Pipeline, model: ModelVersion) -> None:
    pipeline.add_model_step(model)
    assert [step.model.name for step in pipeline.steps()] == ["echo", "echo"]
    assert pipeline.clear() is pipeline
    assert pipeline.steps() == []
    with pytest.raises(InvalidPipelineError, match="add_model_step"):
        pipeline.deploy()


@pytest.mark.parametrize(
    ("args", "kwargs", "name", "config"),
    [
        ((), {}, "chat", {}),
        (("mine",), {}, "mine", {}),
        ((CONFIG,), {}, "chat", CONFIG),
        (("mine", CONFIG), {}, "mine", CONFIG),
        ((CONFIG, "mine"), {}, "mine", CONFIG),
        ((), {"pipeline_name": "mine"}, "mine", {}),
        ((), {"deployment_config": CONFIG}, "chat", CONFIG),
        ((), {"pipeline_name": "mine", "deployment_config": CONFIG}, "mine", CONFIG),
        (("mine",), {"deployment_config": CONFIG}, "mine", CONFIG),
        ((DeploymentConfigBuilder().cpus(1),), {}, "chat", CONFIG),
        (({"cpus": 1, "memory": "999Mi"},), {}, "chat", {"cpus": 1, "memory": "999Mi"}),
    ],
)
def test_deploy_takes_a_name_and_a_configuration_in_any_form(  # noqa: PLR0917 - parameters
    api: ApiServer,
    pipeline: Pipeline,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    name: str,
    config: dict[str, object],
) -> None:
    assert pipeline.deploy(*args, **kwargs) is pipeline
    sent = last(api, DEPLOY).json()
    assert sent["deploy_id"] == name
    assert sent["engine_config"] == config
    assert last(api, STATUS).json() == {"name": f"{name}-5"}


@pytest.mark.parametrize("args", [("a", "b"), (CONFIG, DeploymentConfig()), (3,)])
def test_deploy_refuses_what_is_neither(pipeline: Pipeline, args: tuple[Any, ...]) -> None:
    with pytest.raises(InvalidInputError, match="a name and a deployment configuration"):
        pipeline.deploy(*args)


def test_deploy_waits_until_it_runs(api: ApiServer, pipeline: Pipeline) -> None:
    starting = Scripted(200, deployment("Starting"))
    api.answer(STATUS, starting, starting)
    pipeline.deploy()
    assert len(api.sent_to(STATUS)) == 3
    assert pipeline.status()["status"] == "Running"


def test_deploy_need_not_wait(api: ApiServer, pipeline: Pipeline) -> None:
    pipeline.deploy(wait_for_status=False)
    assert api.sent_to(STATUS) == []


def test_deployment_that_fails_raises_the_reason(api: ApiServer, pipeline: Pipeline) -> None:
    reason = "model 'echo': KeyError: 'OPENAI_API_KEY'"
    failed = {
        **deployment("Error", reason, reason, f"echo-0: {reason}"),
        "details": [f"echo-0: {reason}", "crash loop"],
    }
    api.answer(STATUS, Scripted(200, deployment("Starting")), Scripted(200, failed))
    with pytest.raises(ModelNotRunningError) as caught:
        pipeline.deploy()
    assert str(caught.value) == f"pipeline 'chat' does not run: {reason}; crash loop"


def test_deployment_that_takes_too_long_tells_how_it_stands(
    api: ApiServer, client: Client, pipeline: Pipeline
) -> None:
    client._api.timeout_s = 0.1
    api.answer(STATUS, *[Scripted(200, deployment("Starting", "loading")) for _ in range(20)])
    with pytest.raises(ApiError, match=r"'chat' is Starting after 0\.1 s \(loading\)"):
        pipeline.deploy()


def test_undeploy_waits_until_it_is_gone(api: ApiServer, deployed: Pipeline) -> None:
    api.answer(STATUS, Scripted(200, deployment("Stopping")))
    assert deployed.undeploy() is deployed
    sent = last(api, "/v1/api/pipelines/undeploy").json()
    assert sent == {"pipeline_id": 3, "deployment_id": 5}
    with pytest.raises(NotFoundError):
        deployed.status()


def test_undeploy_of_nothing_does_nothing(api: ApiServer, pipeline: Pipeline) -> None:
    pipeline.undeploy()
    assert api.sent_to("/v1/api/pipelines/undeploy") == []


def test_deployment_that_does_not_end_is_an_error(
    api: ApiServer, client: Client, deployed: Pipeline
) -> None:
    client._api.timeout_s = 0.1
    api.answer(STATUS, *[Scripted(200, deployment("Stopping")) for _ in range(20)])
    with pytest.raises(ApiError, match="still runs"):
        deployed.undeploy()


def test_pipeline_that_another_client_deployed_can_be_used(api: ApiServer, client: Client) -> None:
    api.is_deployed = True
    pipeline = client.build_pipeline("chat")
    pipeline.infer([{"text": "hi"}])
    assert api.received[-1].path == "/v1/api/pipelines/infer/elsewhere-9/chat"
    assert pipeline.url() == ("https://public.example.com/v1/api/pipelines/infer/elsewhere-9/chat")
    pipeline.undeploy()
    sent = last(api, "/v1/api/pipelines/undeploy").json()
    assert sent == {"pipeline_id": 3, "deployment_id": 9}


def test_frame_in_gives_frame_out(api: ApiServer, deployed: Pipeline) -> None:
    frame = pd.DataFrame(
        {
            "text": ["What happened to the Serge llama?", "How are you doing?"],
            "id": [BIG, 1],
            "score": np.array([0.1, 0.2], np.float32),
            "at": pd.to_datetime(["2024-02-29T12:00:00.123456789"] * 2),
            "tensor": [np.arange(3, dtype=np.float32), np.ones(3, np.float32)],
            "nested": [[[1, 2], [3]], [[], [BIG]]],
        }
    )
    result = deployed.infer(frame)
    names = list(frame)
    assert list(result) == [
        "time",
        *(f"in.{name}" for name in names),
        *(f"out.{name}" for name in names),
        "anomaly.count",
    ]
    assert str(result["time"].dtype) == "datetime64[ms]"
    assert result["out.text"].tolist() == frame["text"].tolist()
    assert result["out.id"].tolist() == [BIG, 1]
    assert result["out.score"].astype(np.float32).tolist() == frame["score"].tolist()
    assert result["in.at"].tolist() == frame["at"].tolist()
    assert result["out.tensor"].tolist() == [[0.0, 1.0, 2.0], [1.0, 1.0, 1.0]]
    assert result["out.nested"].tolist() == [[[1, 2], [3]], [[], [BIG]]]
    request = last(api, INFER)
    assert request.headers["content-type"] == RECORDS
    assert request.headers["accept"] == RECORDS
    assert request.params == [
        ("dataset[]", "*"),
        ("dataset.exclude[]", "metadata"),
        ("dataset.separator", "."),
    ]


def arrow_table() -> pa.Table:
    return pa.table(
        {
            "text": pa.chunked_array([["a"], ["b", None]], pa.string()),
            "id": pa.array([BIG, None, -BIG], pa.int64()),
            "score": pa.array([0.1, 0.2, None], pa.float32()),
            "at": pa.array([1, 2, None], pa.timestamp("us", tz="UTC")),
            "tensor": pa.array([[1.0, 2.0]] * 3, pa.list_(pa.float32(), 2)),
            "nested": pa.array([[[1], []], [], None], pa.list_(pa.list_(pa.int64()))),
        }
    )


def test_table_in_gives_table_out(api: ApiServer, deployed: Pipeline) -> None:
    table = arrow_table()
    result = deployed.infer(table)
    assert isinstance(result, pa.Table)
    assert result.schema.field("time").type == pa.timestamp("ms")
    for name in table.column_names:
        for column in (f"in.{name}", f"out.{name}"):
            assert result.schema.field(column).type == table.schema.field(name).type
            assert result[column].to_pylist() == table[name].to_pylist()
    request = last(api, INFER)
    assert request.headers["content-type"] == ARROW
    assert request.headers["accept"] == ARROW


def test_record_batch_in_gives_table_out(deployed: Pipeline) -> None:
    batch = pa.RecordBatch.from_pydict({"text": ["a"]})
    assert deployed.infer(batch)["out.text"].to_pylist() == ["a"]


def test_polars_frame_goes_as_arrow(deployed: Pipeline) -> None:
    polars = pytest.importorskip("polars")
    result = deployed.infer(polars.DataFrame({"text": ["a"], "x": [1.5]}))
    assert result["out.text"].to_pylist() == ["a"]
    assert result["out.x"].to_pylist() == [1.5]


@pytest.mark.parametrize(
    "data", [{"text": ["a", "b"]}, [{"text": "a"}, {"text": "b"}], {"text": np.array(["a", "b"])}]
)
def test_dict_or_list_gives_records(deployed: Pipeline, data: object) -> None:
    result = deployed.infer(data)
    assert [row["out.text"] for row in result] == ["a", "b"]


@pytest.mark.parametrize("data", ["text", 3, None, b"x", np.zeros(3)])
def test_data_of_another_kind_is_refused(deployed: Pipeline, data: object) -> None:
    with pytest.raises(InvalidInputError, match="DataFrame, an Arrow table, or a dict"):
        deployed.infer(data)


def test_datasets_are_asked_for_as_documented(api: ApiServer, deployed: Pipeline) -> None:
    data = [{"text": "a"}]
    deployed.infer(data, dataset="metadata")
    deployed.infer(data, dataset=["*", "metadata.elapsed"], dataset_exclude=["out.a", "out.b"])
    deployed.infer(data, 20, ["out"], "in", "/")
    assert [request.params for request in api.sent_to(INFER)] == [
        [("dataset[]", "metadata"), ("dataset.separator", ".")],
        [
            ("dataset[]", "*"),
            ("dataset[]", "metadata.elapsed"),
            ("dataset.exclude[]", "out.a"),
            ("dataset.exclude[]", "out.b"),
            ("dataset.separator", "."),
        ],
        [
            ("dataset[]", "out"),
            ("dataset.exclude[]", "in"),
            ("dataset.exclude[]", "metadata"),
            ("dataset.separator", "/"),
        ],
    ]


def test_elapsed_metadata_reads_as_in_the_documents(api: ApiServer, deployed: Pipeline) -> None:
    api.answer(INFER, Scripted(200, [{"metadata.elapsed": [51879691, 2310435]}]))
    frame = deployed.infer(pd.DataFrame({"x": [1]}), dataset="metadata")
    assert frame["metadata.elapsed"][0][0] == 51879691
    elapsed = pa.table({"metadata.elapsed": pa.array([[1253219, 1275320]], pa.list_(pa.uint64()))})
    api.answer(INFER, Scripted(200, arrow_file(elapsed)))
    table = deployed.infer(pa.table({"x": [1]}), dataset="metadata")
    assert table["metadata.elapsed"][0][1].as_py() == 1275320


def test_json_file_gives_a_frame(api: ApiServer, deployed: Pipeline, tmp_path: Path) -> None:
    path = tmp_path / "smoke_test.df.json"
    path.write_text(json.dumps([{"tensor": [1.0678324729, 0.5]}]))
    result = deployed.infer_from_file(str(path))
    assert result["out.tensor"].tolist() == [[1.0678324729, 0.5]]
    assert last(api, INFER).body == path.read_bytes()


def test_arrow_file_gives_a_table(deployed: Pipeline, tmp_path: Path) -> None:
    path = tmp_path / "data.arrow"
    path.write_bytes(arrow_file(arrow_table()))
    result = deployed.infer_from_file(path)
    assert result["out.id"].to_pylist() == [BIG, None, -BIG]


def test_file_that_cannot_be_read_is_named(deployed: Pipeline, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="no file"):
        deployed.infer_from_file(tmp_path / "nowhere.json")
    (tmp_path / "data.csv").touch()
    with pytest.raises(InvalidInputError, match=r"\.json or \.arrow"):
        deployed.infer_from_file(tmp_path / "data.csv")


def test_error_of_the_server_comes_back_as_its_class(api: ApiServer, deployed: Pipeline) -> None:
    error = ColumnMissingError("text", ["prompt"])
    api.answer(INFER, Scripted(400, problem_body(error, 400, "engine")))
    with pytest.raises(ColumnMissingError, match="'text' is missing: got 'prompt'"):
        deployed.infer(pd.DataFrame({"prompt": ["a"]}))


def test_inference_on_an_undeployed_pipeline_is_not_found(
    api: ApiServer, deployed: Pipeline
) -> None:
    api.answer(INFER, Scripted(404, problem("not_found", "deployment 'chat-5' was not found", 404)))
    with pytest.raises(NotFoundError, match="chat-5"):
        deployed.infer([{"text": "a"}])
    deployed.undeploy()
    with pytest.raises(NotFoundError):
        deployed.infer([{"text": "a"}])


def test_inference_without_an_answer_in_time_says_how_long(
    api: ApiServer, deployed: Pipeline
) -> None:
    gate = threading.Event()
    api.answer(INFER, Scripted(gate=gate))
    try:
        with pytest.raises(ApiError, match=r"no answer within 0\.1 s") as caught:
            deployed.infer([{"text": "a"}], timeout=0.1)
    finally:
        gate.set()
    assert caught.value.facts == {"timeout_s": 0.1}
