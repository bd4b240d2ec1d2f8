import pyarrow as pa
import pytest

from byop.ports.inference_log import LogOrder, LogPage, MissingRows, PageStatus
from byop.services.inference_logs import LogRequest
from tests.server.conftest import Api

_PATH = "/v1/api/pipelines/get_logs"
_ASK = {"pipeline_id": "chat", "workspace_id": 1}


def test_the_first_page_is_nested_records_newest_first(api: Api) -> None:
    response = api.post(_PATH, json=_ASK)
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-iteration-status"] == "All"
    assert "x-iteration-cursor" not in response.headers
    (row,) = response.json()
    assert (row["time"], row["in"], row["out"]) == (
        1_684_356_836_285,
        {"text": "hello"},
        {"score": 0.5},
    )
    assert api.fakes.inference_logs.requests == [LogRequest("chat", 1)]


def test_a_page_that_is_not_the_last_has_a_cursor(api: Api) -> None:
    logs = api.fakes.inference_logs
    logs.answer = LogPage(logs.answer.records, PageStatus.RECORD_LIMITED, "opaque")
    response = api.post(_PATH, json={**_ASK, "page_size": 1, "cursor": "before", "order": "Asc"})
    assert response.headers["x-iteration-status"] == "RecordLimited"
    assert response.headers["x-iteration-cursor"] == "opaque"
    (request,) = logs.requests
    assert (request.page_size, request.cursor) == (1, "before")
    assert request.order is LogOrder.ASCENDING


def test_rows_that_can_no_longer_be_read_are_told(api: Api) -> None:
    logs = api.fakes.inference_logs
    missing = [MissingRows(3, "OSError: gone"), MissingRows(2, "OSError: gone")]
    logs.answer = LogPage(logs.answer.records, PageStatus.ALL, None, missing)
    assert api.post(_PATH, json=_ASK).headers["x-iteration-missing"] == "5"
    logs.answer = LogPage(logs.answer.records, PageStatus.ALL, None)
    assert "x-iteration-missing" not in api.post(_PATH, json=_ASK).headers


def test_arrow_comes_when_asked_for(api: Api) -> None:
    headers = {"Accept": "application/vnd.apache.arrow.file"}
    response = api.post(f"{_PATH}?dataset.separator=.", json=_ASK, headers=headers)
    assert response.headers["content-type"] == "application/vnd.apache.arrow.file"
    assert pa.ipc.open_file(response.content).read_all()["out.score"].to_pylist() == [0.5]


def test_an_empty_log_is_an_empty_list(api: Api) -> None:
    api.fakes.inference_logs.answer = LogPage([], PageStatus.ALL, None)
    assert api.post(_PATH, json=_ASK).json() == []


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("2026-05-17T20:00:00.0005Z", "2026-05-17T20:00:01.0005Z"),
        ("2026-05-17T22:00:00.000500+02:00", "2026-05-17T22:00:01.000500+02:00"),
        ("2026-05-17T20:00:00.000500", "2026-05-17T20:00:01.000500"),
    ],
)
def test_a_period_is_widened_to_whole_milliseconds(api: Api, start: str, end: str) -> None:
    api.post(_PATH, json={**_ASK, "start_time": start, "end_time": end})
    (request,) = api.fakes.inference_logs.requests
    assert (request.start_ms, request.end_ms) == (1_779_048_000_000, 1_779_048_001_001)


def test_a_period_of_whole_milliseconds_stays_as_it_is(api: Api) -> None:
    times = {"start_time": "2026-05-17T20:00:00.001Z", "end_time": "2026-05-17T20:00:00.394Z"}
    api.post(_PATH, json={**_ASK, **times})
    (request,) = api.fakes.inference_logs.requests
    assert (request.start_ms, request.end_ms) == (1_779_048_000_001, 1_779_048_000_394)


@pytest.mark.parametrize(
    "wrong", [{"start_time": "yesterday"}, {"order": "Sideways"}, {"page_size": "many"}]
)
def test_a_wrong_parameter_is_400(api: Api, wrong: dict[str, str]) -> None:
    response = api.post(_PATH, json={**_ASK, **wrong})
    assert response.status_code == 400
    assert next(iter(wrong)) in response.json()["error"]
