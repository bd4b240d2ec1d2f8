"""The client against a real server with a real model that answers what it is asked."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from byop.bundle.archive import pack
from byop.client import Client, DeploymentConfigBuilder, Framework, Pipeline
from byop.errors import (
    AlreadyExistsError,
    ColumnMissingError,
    InvalidArchiveError,
    InvalidInputError,
    InvalidNameError,
    ModelFailedError,
    ModelNotRunningError,
    NotFoundError,
)
from tests.acceptance.projects import pack_project
from tests.fakes.servers import RunningServer, running_server

pytestmark = pytest.mark.xdist_group("client")

BIG = 2**53 + 1
SCHEMA = pa.schema(
    [
        pa.field("text", pa.string()),
        pa.field("id", pa.int64()),
        pa.field("score", pa.float32()),
        pa.field("at", pa.timestamp("ms")),
        pa.field("tensor", pa.list_(pa.float32(), 3)),
        pa.field("nested", pa.list_(pa.list_(pa.int64()))),
    ]
)
_ECHO = """
    if input_data["text"][0] == "fail":
        raise ValueError("asked to fail")
    return dict(input_data)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("client") / "home") as running:
        yield running


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[Client]:
    connected = server.client()
    yield connected
    connected.close()


@pytest.fixture(scope="module")
def pipeline(client: Client, tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    archive = pack_project(tmp_path_factory.mktemp("projects"), "echo", predict=_ECHO)
    model = client.upload_model("echo", archive, Framework.CUSTOM, SCHEMA, SCHEMA)
    assert model.status() == "ready", model.error_summary()
    config = DeploymentConfigBuilder().cpus(1).memory("1GiB").sidekick_memory(model, "1Gi").build()
    return client.build_pipeline("echo").add_model_step(model).deploy(config, "echo-deployment")


def frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "text": ["What happened to the Serge llama?", "ä\u2028"],
            "id": [BIG, -BIG],
            "score": np.array([0.1, 0.2], np.float32),
            "at": pd.to_datetime(["2024-02-29T12:00:00.123", "1969-12-31T23:59:59.999"]),
            "tensor": [np.arange(3, dtype=np.float32), [0.1, 0.2, 0.3]],
            "nested": [[[1, 2], [3]], [[], [BIG]]],
        }
    )


def table() -> pa.Table:
    rows = frame().to_dict("list")
    return pa.table({field.name: pa.array(rows[field.name], field.type) for field in SCHEMA})


def test_frame_comes_back_as_it_went(pipeline: Pipeline) -> None:
    given = frame()
    result = pipeline.infer(given)
    names = list(given)
    assert list(result) == [
        "time",
        *(f"in.{name}" for name in names),
        *(f"out.{name}" for name in names),
        "anomaly.count",
    ]
    assert str(result["time"].dtype) == "datetime64[ms]"
    assert result["anomaly.count"].tolist() == [0, 0]
    for part in ("in", "out"):
        assert result[f"{part}.text"].tolist() == given["text"].tolist()
        assert result[f"{part}.id"].tolist() == [BIG, -BIG]
        assert result[f"{part}.score"].astype(np.float32).tolist() == given["score"].tolist()
        assert result[f"{part}.tensor"].tolist() == [[0.0, 1.0, 2.0], [0.1, 0.2, 0.3]]
        assert result[f"{part}.nested"].tolist() == given["nested"].tolist()
    assert result["in.at"].tolist() == given["at"].tolist()
    assert pd.to_datetime(result["out.at"]).tolist() == given["at"].tolist()


def test_table_comes_back_as_it_went(pipeline: Pipeline) -> None:
    given = table()
    result = pipeline.infer(given)
    assert result.schema.field("time").type == pa.timestamp("ms")
    assert result.schema.field("anomaly.count").type == pa.int8()
    for field in SCHEMA:
        for column in (f"in.{field.name}", f"out.{field.name}"):
            assert result.schema.field(column).type == field.type
            assert result[column].to_pylist() == given[field.name].to_pylist()


def test_columns_come_back_as_records(pipeline: Pipeline) -> None:
    columns = {name: values[:1] for name, values in frame().to_dict("list").items()}
    (record,) = pipeline.infer(columns, dataset=["out", "metadata.elapsed"])
    assert record["out.id"] == BIG
    assert len(record["metadata.elapsed"]) == 2
    assert not any(name.startswith("in.") for name in record)


def test_files_are_sent_as_they_lie(pipeline: Pipeline, tmp_path: Path) -> None:
    arrow = tmp_path / "rows.arrow"
    with pa.ipc.new_file(arrow, SCHEMA) as writer:
        writer.write_table(table())
    result = pipeline.infer_from_file(arrow, dataset="metadata")
    assert result["metadata.elapsed"][0][1].as_py() > 0
    records = tmp_path / "rows.df.json"
    frame().to_json(records, orient="records", date_format="iso", double_precision=15)
    assert pipeline.infer_from_file(records)["out.id"].tolist() == [BIG, -BIG]


def test_log_holds_what_was_inferred(pipeline: Pipeline) -> None:
    answer = pipeline.infer(table())
    newest = pipeline.logs(limit=2, arrow=True)
    assert newest["time"][0] == answer["time"][0]
    assert sorted(newest["in.id"].to_pylist()) == [-BIG, BIG]
    at = answer["time"][0].as_py()
    period = pipeline.logs(
        start_datetime=pd.Timestamp(at, tz="UTC").to_pydatetime(), dataset=["time", "out.id"]
    )
    assert list(period) == ["time", "out.id"]
    assert period["out.id"].tolist() == [BIG, -BIG]
    with_metadata = pipeline.logs(limit=1, dataset=["*", "metadata"])
    assert "metadata.last_model" in with_metadata


def test_log_is_read_over_several_pages(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        pipeline.infer(table())
    whole = pipeline.logs(limit=6, arrow=True)
    monkeypatch.setattr("byop.client.inference_logs._LARGEST_PAGE", 2)
    assert pipeline.logs(limit=6, arrow=True).equals(whole)
    assert len(pipeline.logs(limit=5)) == 5


def test_errors_come_back_as_their_classes(
    client: Client, pipeline: Pipeline, tmp_path: Path
) -> None:
    with pytest.raises(ColumnMissingError, match="'text'"):
        pipeline.infer(frame().drop(columns="text"))
    with pytest.raises(ModelFailedError, match="asked to fail"):
        pipeline.infer(frame().assign(text="fail"))
    with pytest.raises(InvalidNameError):
        client.build_pipeline("No Name")
    no_zip = tmp_path / "no.zip"
    no_zip.write_bytes(b"nothing")
    with pytest.raises(InvalidArchiveError, match=r"Bad request: Not a valid ZIP file\."):
        client.upload_model("no-zip", no_zip, Framework.CUSTOM, SCHEMA, SCHEMA)
    with pytest.raises(InvalidInputError):
        client.upload_model("no-zip", no_zip, "no-framework", SCHEMA, SCHEMA)


def test_workspaces_are_made_once(client: Client) -> None:
    made = client.create_workspace("round-trip")
    assert client.get_workspace("round-trip") == made
    with pytest.raises(AlreadyExistsError):
        client.create_workspace("round-trip")
    with pytest.raises(NotFoundError):
        client.get_workspace("nowhere")


def test_model_that_cannot_start_tells_why(client: Client, tmp_path: Path) -> None:
    archive = pack_project(
        tmp_path, "broken", predict="return {}", create="raise RuntimeError('no credentials')"
    )
    model = client.upload_model("broken", archive, Framework.CUSTOM, SCHEMA, SCHEMA)
    pipeline = client.build_pipeline("broken").add_model_step(model)
    with pytest.raises(ModelNotRunningError, match="no credentials"):
        pipeline.deploy()
    pipeline.undeploy()


def test_failed_conversion_tells_the_documented_summary(client: Client, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "model.py").write_text("")
    archive = tmp_path / "empty.zip"
    pack(empty, archive)
    model = client.upload_model("empty", archive, Framework.CUSTOM, SCHEMA, SCHEMA)
    assert model.status() == "error"
    assert model.error_summary() == (
        "Framework.CUSTOM requires a requirements.txt to be included within the uploaded .zip file"
    )


def test_threads_share_a_client(pipeline: Pipeline) -> None:
    start = threading.Barrier(8)

    def ask(number: int) -> int:
        start.wait(30)
        return int(pipeline.infer(frame().assign(id=number))["out.id"][0])

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(8))) == list(range(8))


def test_another_client_can_use_and_end_what_runs(
    server: RunningServer, pipeline: Pipeline
) -> None:
    other_client = server.client()
    other = other_client.build_pipeline("echo")
    assert other.url() == pipeline.url()
    assert other.infer(table())["out.id"].to_pylist() == [BIG, -BIG]
    other.undeploy()
    with pytest.raises(NotFoundError):
        pipeline.infer(table())
    pipeline.deploy("echo-deployment")
    assert pipeline.infer(table()).num_rows == 2
    other_client.close()
