import json
import warnings
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from byop.client import Client, Pipeline
from byop.errors import InvalidInputError
from tests.fakes.api_server import ARROW, TIME_MS, ApiServer, Scripted, arrow_file

LOGS = "/v1/api/pipelines/get_logs"
RECORDS = "application/json; format=pandas-records"


@pytest.fixture
def pipeline(client: Client) -> Pipeline:
    return client.build_pipeline("chat")


def page(rows: object, status: str = "All", cursor: str | None = None) -> Scripted:
    headers = {"x-iteration-status": status}
    if cursor is not None:
        headers["x-iteration-cursor"] = cursor
    body = arrow_file(rows) if isinstance(rows, pa.Table) else rows
    return Scripted(200, body, headers)


def records(*values: int) -> list[dict[str, object]]:
    return [{"time": TIME_MS + value, "in.x": value, "anomaly.count": 0} for value in values]


def table(column: str, values: list[Any]) -> pa.Table:
    times = pa.array([TIME_MS] * len(values), pa.timestamp("ms"))
    return pa.table({"time": times, column: values})


def questions(api: ApiServer) -> list[dict[str, Any]]:
    return [request.json() for request in api.sent_to(LOGS)]


@pytest.mark.parametrize("arrow", [False, True])
def test_rows_that_the_server_lost_are_warned_of(
    api: ApiServer, pipeline: Pipeline, *, arrow: bool
) -> None:
    answer = page(table("in.x", [1]) if arrow else records(1))
    api.answer(LOGS, replace(answer, headers={**answer.headers, "x-iteration-missing": "7"}))
    with pytest.warns(UserWarning, match="7 rows of the log can no longer be read") as caught:
        assert len(pipeline.logs(arrow=arrow)) == 1
    assert [one.filename for one in caught] == [__file__]


def test_newest_hundred_are_read_newest_first(api: ApiServer, pipeline: Pipeline) -> None:
    api.answer(LOGS, page(records(2, 1)))
    frame = pipeline.logs()
    assert isinstance(frame, pd.DataFrame)
    assert list(frame) == ["time", "in.x", "anomaly.count"]
    assert frame["in.x"].tolist() == [2, 1]
    assert str(frame["time"].dtype) == "datetime64[ms]"
    (request,) = api.sent_to(LOGS)
    assert request.json() == {
        "pipeline_id": "chat",
        "workspace_id": 1,
        "order": "Desc",
        "page_size": 100,
    }
    assert request.headers["accept"] == RECORDS
    assert request.params == [
        ("dataset[]", "*"),
        ("dataset.exclude[]", "metadata"),
        ("dataset.separator", "."),
    ]


def test_pages_are_followed_up_to_the_limit(api: ApiServer, pipeline: Pipeline) -> None:
    api.answer(
        LOGS,
        page(records(5, 4), "ByteLimited", "c1"),
        page(records(3, 2), "RecordLimited", "c2"),
        page(records(1), "RecordLimited", "c3"),
    )
    assert pipeline.logs(limit=5)["in.x"].tolist() == [5, 4, 3, 2, 1]
    asked = [(q.get("cursor"), q["page_size"]) for q in questions(api)]
    assert asked == [(None, 5), ("c1", 3), ("c2", 1)]


def test_period_is_read_whole_and_oldest_first(api: ApiServer, pipeline: Pipeline) -> None:
    api.answer(LOGS, page(records(1), "RecordLimited", "c1"), page(records(2)))
    start = datetime(2023, 5, 18, 14, 0, tzinfo=timezone(timedelta(hours=2)))
    end = datetime(2023, 5, 18, 13, 0, 0, 5, tzinfo=UTC)
    frame = pipeline.logs(start_datetime=start, end_datetime=end)
    assert frame["in.x"].tolist() == [1, 2]
    first, second = questions(api)
    assert (first["order"], first["page_size"]) == ("Asc", 10_000)
    assert first["start_time"] == "2023-05-18T12:00:00+00:00"
    assert first["end_time"] == "2023-05-18T13:00:00.000005+00:00"
    assert second == {**first, "cursor": "c1"}


def test_period_with_one_end_gets_the_other(api: ApiServer, pipeline: Pipeline) -> None:
    api.answer(LOGS, page([]), page([]))
    at = datetime(2023, 5, 18, tzinfo=UTC)
    pipeline.logs(start_datetime=at)
    pipeline.logs(end_datetime=at)
    first, second = questions(api)
    assert first["end_time"] == "9999-12-31T00:00:00+00:00"
    assert second["start_time"] == "1970-01-01T00:00:00+00:00"


def test_arrow_gives_a_table(api: ApiServer, pipeline: Pipeline) -> None:
    api.answer(
        LOGS,
        page(table("out.id", [2**53 + 1]), "RecordLimited", "c1"),
        page(table("out.id", [7])),
    )
    result = pipeline.logs(arrow=True, dataset=["*", "metadata"])
    assert isinstance(result, pa.Table)
    assert result["out.id"].to_pylist() == [2**53 + 1, 7]
    assert result.schema.field("time").type == pa.timestamp("ms")
    request = api.sent_to(LOGS)[0]
    assert request.headers["accept"] == ARROW
    assert request.params == [
        ("dataset[]", "*"),
        ("dataset[]", "metadata"),
        ("dataset.separator", "."),
    ]


def test_rows_of_a_pipeline_version_with_other_columns_have_gaps(
    api: ApiServer, pipeline: Pipeline
) -> None:
    for _ in range(2):
        api.answer(LOGS, page(table("out.a", [1]), "SchemaChange", "c1"))
        api.answer(LOGS, page(table("out.b", ["x"])))
    joined = pipeline.logs(arrow=True)
    assert joined["out.a"].to_pylist() == [1, None]
    assert joined["out.b"].to_pylist() == [None, "x"]
    api.scripted[LOGS].clear()
    api.answer(LOGS, page([{"out.a": 2**53 + 1}], "SchemaChange", "c1"), page([{"out.b": "x"}]))
    frame = pipeline.logs()
    assert frame["out.a"][0] == 2**53 + 1
    assert frame["out.b"].isna().tolist() == [True, False]


def test_column_that_changed_its_type_ends_a_table_with_a_warning(
    api: ApiServer, pipeline: Pipeline
) -> None:
    api.answer(
        LOGS,
        page(table("out.a", [1, 2]), "SchemaChange", "c1"),
        page(table("out.a", ["x"]), "SchemaChange", "c2"),
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = pipeline.logs(arrow=True)
    assert result["out.a"].to_pylist() == [1, 2]
    (warning,) = caught
    assert "2 rows read" in str(warning.message)
    assert warning.filename == __file__


def test_empty_log_is_empty(api: ApiServer, pipeline: Pipeline) -> None:
    api.answer(LOGS, page([]), page(table("out.a", [])))
    assert len(pipeline.logs()) == 0
    assert pipeline.logs(arrow=True).num_rows == 0


def test_arguments_go_by_position_as_documented(api: ApiServer, pipeline: Pipeline) -> None:
    api.answer(LOGS, page([]))
    at = datetime(2023, 5, 18, tzinfo=UTC)
    pipeline.logs(3, at, at, True, ["out"], ["out.a"], "/", False)
    (request,) = api.sent_to(LOGS)
    assert json.loads(request.body)["page_size"] == 3
    assert ("dataset.separator", "/") in request.params


def test_failed_inferences_and_empty_limits_are_refused(pipeline: Pipeline) -> None:
    with pytest.raises(InvalidInputError, match="valid=False"):
        pipeline.logs(valid=False)
    with pytest.raises(InvalidInputError, match="limit"):
        pipeline.logs(limit=0)
