"""Seeds 000 and 002: inference by the SDK and by requests, on the documents' ONNX model."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import requests

from byop.client.client import Client
from byop.client.pipeline import Pipeline
from tests.fakes.servers import RunningServer
from tests.seeds.conftest import fraud_table
from tests.seeds.fraud_model import expected_scores, random_rows
from tests.seeds.session import SeedSession

pytestmark = pytest.mark.registry

NAME = "ccfraud"
THRESHOLD = 0.75


@pytest.fixture(scope="module")
def client(seed_server: RunningServer) -> Iterator[Client]:
    client = seed_server.client()
    client.set_current_workspace(client.get_workspace("inference", create_if_not_exist=True))
    yield client
    client.close()


@pytest.fixture(scope="module")
def pipeline(client: Client, notebook_folder: Path) -> Iterator[Pipeline]:
    """Give the deployed fraud model."""
    model = client.upload_model(NAME, notebook_folder / "ccfraud.onnx", "onnx")
    assert model.status() == "ready", model.error_summary()
    pipeline = client.build_pipeline(NAME).add_model_step(model).deploy()
    yield pipeline
    pipeline.undeploy()


@pytest.fixture
def notebook(
    pipeline: Pipeline, notebook_folder: Path, environment: pytest.MonkeyPatch
) -> Iterator[SeedSession]:
    del environment
    session = SeedSession(notebook_folder, {"server": pipeline.url().partition("/v1/")[0]})
    session.give(ccfraud_pipeline=pipeline, mainpipeline=pipeline)
    yield session
    session.close()


@dataclass(frozen=True)
class Document:
    """A document's notebook, run up to the inference URL."""

    notebook: SeedSession
    infer_pandas: str
    infer_arrow: str


@pytest.fixture
def seed_000(notebook: SeedSession, client: Client) -> Document:
    _open(notebook, client, "000-0481-imports", "000-0507-client", "000-0519-api-url")
    notebook.run("000-0535-auth-header")
    notebook.run("000-0554-external-url")
    return Document(notebook, "000-0609-infer-pandas", "000-0671-infer-arrow")


@pytest.fixture
def seed_002(notebook: SeedSession, client: Client) -> Document:
    _open(notebook, client, "002-0042-imports", "002-0057-client", "002-0064-api-url")
    notebook.run("002-0069-auth-header")
    notebook.run("002-0119-external-url")
    return Document(notebook, "002-0148-infer-pandas", "002-0203-infer-arrow")


@pytest.fixture(params=["seed_000", "seed_002"])
def document(request: pytest.FixtureRequest) -> Document:
    found: Document = request.getfixturevalue(request.param)
    return found


def _open(notebook: SeedSession, client: Client, *files: str) -> None:
    for file in files:
        notebook.run(file)
    notebook.give(workspaceId=client.get_current_workspace().id(), pipeline_name=NAME)


def test_url_names_the_deployment(document: Document) -> None:
    url = str(document.notebook.names["deployurl"])
    assert url.endswith(f"/{NAME}")
    assert "/v1/api/pipelines/infer/ccfraud-" in url


def test_records_by_requests_give_time_and_out(document: Document) -> None:
    notebook = document.notebook
    notebook.run(document.infer_pandas)
    shown = notebook.displayed[-1]
    assert isinstance(shown, pd.DataFrame)
    assert list(shown.columns) == ["time", "out"]
    data: Any = notebook.names["data"]
    expected = expected_scores([data[0]["tensor"]])
    assert list(shown.iloc[0]["out"]) == ["dense_1"]
    assert shown.iloc[0]["out"]["dense_1"] == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_arrow_by_requests_gives_nested_columns(document: Document) -> None:
    notebook = document.notebook
    notebook.run(document.infer_arrow)
    table: Any = notebook.names["arrow_table"]
    assert table.num_rows == 10_000
    assert pa.types.is_struct(table.schema.field("out").type)
    shown = notebook.displayed[-1]
    assert isinstance(shown, pd.DataFrame)
    assert list(shown.columns) == ["time", "out"]
    scores = [row["dense_1"][0] for row in shown["out"]]
    assert scores == pytest.approx(expected_scores(random_rows(10_000))[:5], rel=1e-4, abs=1e-6)


def test_client_credentials_token_may_infer(seed_002: Document) -> None:
    notebook = seed_002.notebook
    notebook.run("002-0096-token-client-credentials")
    answer = requests.post(
        str(notebook.names["deployurl"]),
        json=[{"tensor": random_rows(1)[0].tolist()}],
        headers={"Authorization": f"Bearer {notebook.names['inference_access_token']}"},
        timeout=30,
    )
    assert answer.status_code == requests.codes.ok, answer.text


def test_arrow_table_gives_the_shown_schema(notebook: SeedSession) -> None:
    notebook.give(ccfraud_input_1k_arrow_table=fraud_table(1_000))
    notebook.run("000-0125-infer-arrow-table")
    result: Any = notebook.names["result"]
    schema = result.schema
    assert schema.names == ["time", "in.tensor", "out.dense_1", "anomaly.count"]
    assert schema.field("time").type == pa.timestamp("ms")
    assert schema.field("in.tensor").type.value_type == pa.float32()
    assert schema.field("out.dense_1").type.value_type == pa.float32()
    assert pa.types.is_integer(schema.field("anomaly.count").type)
    assert result["anomaly.count"].to_pylist() == [0] * 1_000
    scores = [row[0] for row in result["out.dense_1"].to_pylist()]
    assert scores == pytest.approx(expected_scores(random_rows(1_000)), rel=1e-4, abs=1e-6)


def test_result_can_be_filtered_by_pandas_and_polars(notebook: SeedSession) -> None:
    notebook.give(ccfraud_input_1k_arrow_table=fraud_table(1_000))
    notebook.run("000-0125-infer-arrow-table")
    notebook.run("000-0141-filter-pandas")
    by_pandas: Any = notebook.displayed[-1]
    notebook.run("000-0157-filter-polars")
    by_polars: Any = notebook.displayed[-1]
    likely = [score for score in expected_scores(random_rows(1_000)) if score > THRESHOLD]
    assert likely
    assert isinstance(by_polars, pl.DataFrame)
    assert [row[0] for row in by_pandas["out.dense_1"]] == pytest.approx(likely, rel=1e-4, abs=1e-6)
    assert [row[0] for row in by_polars["out.dense_1"]] == pytest.approx(likely, rel=1e-4, abs=1e-6)


def test_arrow_file_gives_timings_as_unsigned_scalars(notebook: SeedSession) -> None:
    notebook.run("000-0082-infer-from-arrow-file")
    notebook.run("000-0098-parse-elapsed")
    parse_ns, infer_ns, told, _ = notebook.displayed
    for value in (parse_ns, infer_ns):
        assert isinstance(value, pa.UInt64Scalar)
        assert value.as_py() > 0
    assert told == f"Time to parse input data: {notebook.names['parse_elapsed']}"


def test_json_file_gives_timings_as_ints(notebook: SeedSession) -> None:
    notebook.run("000-0107-infer-from-json-file")
    frame: Any = notebook.names["result_dataframe"]
    parse_ns, infer_ns = frame["metadata.elapsed"][0]
    assert min(int(parse_ns), int(infer_ns)) > 0
    assert notebook.displayed == [
        f"Time to parse input data: {parse_ns}",
        f"Time to inference from parsed data: {infer_ns}",
    ]
    assert f'"model_name":"{NAME}"' in frame["metadata.last_model"][0]


@pytest.mark.parametrize("form", ["json", "arrow"])
def test_timings_of_both_forms_can_be_summed(notebook: SeedSession, form: str) -> None:
    file = {"json": "000-0107-infer-from-json-file", "arrow": "000-0082-infer-from-arrow-file"}
    kept = {"json": "result_dataframe", "arrow": "result_arrow"}
    notebook.run(file[form])
    notebook.give(
        input_type=form, results=notebook.names[kept[form]], parse_elapsed=0, inference_elapsed=0
    )
    notebook.run("000-0067-elapsed")
    for name in ("parse_elapsed", "inference_elapsed"):
        total: Any = notebook.names[name]
        assert int(total) > 0


def test_smoke_test_file_gives_the_shown_columns(notebook: SeedSession) -> None:
    notebook.run("000-0359-infer-smoke-test")
    frame: Any = notebook.names["result"]
    assert list(frame.columns) == ["time", "in.tensor", "out.dense_1", "anomaly.count"]
    assert frame["out.dense_1"][0] == pytest.approx(
        expected_scores(random_rows(1)), rel=1e-4, abs=1e-6
    )
    assert frame["anomaly.count"][0] == 0


def test_dataset_may_ask_for_one_metadata_column(notebook: SeedSession) -> None:
    notebook.give(normal_input=fraud_table(2).to_pandas())
    notebook.run("000-0179-infer-dataset-elapsed")
    frame: Any = notebook.names["result"]
    assert "metadata.elapsed" in frame.columns
    assert "metadata.last_model" not in frame.columns
    assert len(frame) == 2
