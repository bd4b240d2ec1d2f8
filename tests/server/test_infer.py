import asyncio
import http.client
import json
import re
import socket
import threading
from collections.abc import Callable
from urllib.parse import urlsplit

import pyarrow as pa
import pytest

from byop import errors
from byop.domain.inferences import InferenceRecord
from byop.errors import ByopError
from byop.server import infer
from byop.server.codecs import decode_json
from byop.services.routes import InferenceRoute
from byop.tables.ipc import IncomingTable, TableLimits
from tests.fakes.services import INPUTS, USER_TOKEN, record_of
from tests.server.conftest import INFER_PATH, Api

_ROWS = [{"tensor": [1.0, 2.0], "name": "a"}, {"tensor": [3.0, 4.0], "name": "b"}]
_ARROW = "application/vnd.apache.arrow.file"


def _arrow_file(batch: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())


def _failing(error: Exception) -> Callable[..., object]:
    async def fail(*_arguments: object) -> InferenceRecord:
        raise error

    return fail


def test_records_come_back_nested(api: Api) -> None:
    response = api.post(
        INFER_PATH, json=_ROWS, headers={"Content-Type": "application/json; format=pandas-records"}
    )
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    first, second = response.json()
    assert first["time"] == 1_684_356_836_285
    assert first["in"] == _ROWS[0]
    assert first["out"] == {"row": 0}
    assert second["out"] == {"row": 1}
    assert first["anomaly"] == {"count": 0}
    assert first["metadata"]["pipeline_version"] == "55f45c16"


@pytest.mark.parametrize(
    "query",
    [
        "dataset[]=*&dataset.exclude[]=metadata&dataset.separator=.",
        "dataset%5B%5D=%2A&dataset.exclude%5B%5D=metadata&dataset.separator=.",
    ],
)
def test_a_separator_makes_the_answer_flat(api: Api, query: str) -> None:
    first = api.post(f"{INFER_PATH}?{query}", json=_ROWS).json()[0]
    assert first["out.row"] == 0
    assert first["in.name"] == "a"
    assert first["anomaly.count"] == 0
    assert not [name for name in first if name.startswith("metadata")]


def test_only_the_datasets_that_were_asked_for_come(api: Api) -> None:
    first = api.post(f"{INFER_PATH}?dataset[]=time&dataset[]=out&dataset.separator=.", json=_ROWS)
    assert sorted(first.json()[0]) == ["out.row", "time"]


@pytest.mark.parametrize("accept", [None, "*/*", _ARROW])
def test_arrow_in_gives_an_arrow_file(api: Api, accept: str | None) -> None:
    batch = pa.RecordBatch.from_pylist(_ROWS, schema=INPUTS)
    headers = {"Content-Type": _ARROW, "Accept": accept}
    response = api.post(
        f"{INFER_PATH}?dataset.separator=.", data=_arrow_file(batch), headers=headers
    )
    assert response.headers["content-type"] == _ARROW
    answer = pa.ipc.open_file(response.content).read_all()
    assert answer["out.row"].to_pylist() == [0, 1]
    assert answer["in.tensor"].to_pylist() == [[1.0, 2.0], [3.0, 4.0]]


def test_the_accept_header_decides_over_the_content_type(api: Api) -> None:
    batch = pa.RecordBatch.from_pylist(_ROWS, schema=INPUTS)
    headers = {"Content-Type": _ARROW, "Accept": "application/json"}
    response = api.post(INFER_PATH, data=_arrow_file(batch), headers=headers)
    assert response.json()[1]["out"] == {"row": 1}
    headers = {"Accept": f"text/html, {_ARROW};q=0.9"}
    response = api.post(INFER_PATH, json=_ROWS, headers=headers)
    assert pa.ipc.open_file(response.content).num_record_batches == 1


@pytest.mark.parametrize(
    ("accept", "answered"),
    [
        (f"application/json;q=0.1, {_ARROW};q=0.9", _ARROW),
        (f"application/json; q=0, {_ARROW}", _ARROW),
        (f"{_ARROW};q=0.5, application/json;format=pandas-records", "application/json"),
        (f"{_ARROW};q=0", "application/json"),
        (f"{_ARROW};q=much", "application/json"),
        (f"{_ARROW}, application/json", _ARROW),
    ],
)
def test_the_format_that_is_liked_best_is_answered(api: Api, accept: str, answered: str) -> None:
    response = api.post(INFER_PATH, json=_ROWS, headers={"Accept": accept})
    assert response.headers["content-type"] == answered


@pytest.mark.parametrize("kind", ["application/json; format=wallaroo", "application/json"])
def test_one_object_of_columns_is_accepted(api: Api, kind: str) -> None:
    columns = {"tensor": [[1.0, 2.0], [3.0, 4.0]], "name": ["a", "b"]}
    headers = {"Content-Type": kind, "Accept": kind}
    response = api.post(INFER_PATH, data=json.dumps(columns), headers=headers)
    assert [row["in"]["name"] for row in response.json()] == ["a", "b"]


@pytest.mark.parametrize("is_in_memory", [True, False])
def test_only_a_route_that_is_in_memory_is_found_on_the_event_loop(
    api: Api, is_in_memory: bool
) -> None:
    api.fakes.inference.is_in_memory = is_in_memory
    assert api.post(INFER_PATH, json=_ROWS).status_code == 200
    assert (api.fakes.inference.routed_in == [api.fakes.inference.loop_thread]) is is_in_memory


def test_the_time_to_parse_is_handed_over(api: Api) -> None:
    metadata = api.post(INFER_PATH, json=_ROWS).json()[0]["metadata"]
    assert metadata["elapsed"][0] > 0


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b"null", b"\xff"])
def test_a_malformed_body_is_400(api: Api, body: bytes) -> None:
    response = api.post(INFER_PATH, data=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 400
    assert response.json()["source"] == "engine"


def test_a_malformed_arrow_body_is_400(api: Api) -> None:
    response = api.post(INFER_PATH, data=b"ARROW1 not", headers={"Content-Type": _ARROW})
    assert (response.status_code, response.json()["type"]) == (400, "invalid_payload")


def test_arrow_columns_that_do_not_fit_are_named(api: Api) -> None:
    batch = pa.record_batch([pa.array(["x"])], names=["name"])
    response = api.post(INFER_PATH, data=_arrow_file(batch), headers={"Content-Type": _ARROW})
    assert response.status_code == 400
    assert response.json()["facts"] == {"column": "tensor", "got": ["name"]}


def test_another_content_type_is_415_and_names_those_that_work(api: Api) -> None:
    response = api.post(INFER_PATH, data={"a": "b"})
    assert response.status_code == 415
    assert _ARROW in response.json()["error"]


@pytest.mark.parametrize("path", ["chat-5/other", "chat-6/chat", "chat-5", "chat-5/chat/more", ""])
def test_an_address_where_nothing_runs_is_404(api: Api, path: str) -> None:
    response = api.post(f"/v1/api/pipelines/infer/{path}", json=_ROWS)
    assert (response.status_code, response.json()["type"]) == (404, "not_found")


def test_another_method_is_405(api: Api) -> None:
    response = api.get(INFER_PATH)
    assert (response.status_code, response.headers["allow"]) == (405, "POST")


def test_a_declared_body_over_the_limit_is_413(api: Api) -> None:
    response = api.post(INFER_PATH, data=b" " * ((1 << 20) + 1))
    assert (response.status_code, response.json()["type"]) == (413, "too_large")


def test_an_undeclared_body_over_the_limit_is_413(api: Api) -> None:
    chunks = (b" " * 65_536 for _ in range(40))
    response = api.post(INFER_PATH, data=chunks, headers={"Content-Type": "application/json"})
    assert response.status_code == 413


def test_a_body_in_chunks_is_read_whole(api: Api) -> None:
    text = json.dumps(_ROWS * 5000).encode()
    chunks = (text[start : start + 10_000] for start in range(0, len(text), 10_000))
    response = api.post(INFER_PATH, data=chunks, headers={"Content-Type": "application/json"})
    assert response.json()[-1]["out"] == {"row": 9999}


@pytest.mark.parametrize(
    ("error", "status", "source"),
    [
        (errors.ModelInputRejectedError("m", "x"), 400, "sidekick"),
        (errors.ModelFailedError("m", "x"), 500, "sidekick"),
        (errors.ModelOutputInvalidError("m", "x"), 502, "sidekick"),
        (errors.ModelCrashedError("m", "x"), 502, "sidekick"),
        (errors.ModelNotRunningError("m", "x"), 502, "sidekick"),
        (errors.ModelTimeoutError("m", 2), 504, "sidekick"),
        (errors.StorageUnavailableError("the disk is full"), 507, "engine"),
    ],
    ids=lambda value: getattr(value, "code", str(value)),
)
def test_a_failed_inference_tells_who_failed(
    api: Api, error: ByopError, status: int, source: str
) -> None:
    api.fakes.inference.behave = _failing(error)  # type: ignore[assignment]
    response = api.post(INFER_PATH, json=_ROWS)
    assert response.status_code == status
    body = response.json()
    assert (body["code"], body["status"], body["source"]) == (status, "Error", source)
    assert (body["error"], body["type"]) == (error.message, error.code)


def test_an_overloaded_model_is_429_and_never_503(api: Api) -> None:
    error = errors.OverloadedError("model 'm'", 128)
    api.fakes.inference.behave = _failing(error)  # type: ignore[assignment]
    response = api.post(INFER_PATH, json=_ROWS)
    assert (response.status_code, response.headers["retry-after"]) == (429, "1")
    assert response.json()["facts"] == {"what": "model 'm'", "limit": 128}


def test_a_fault_of_the_server_tells_nothing_but_its_request_id(
    api: Api, capfd: pytest.CaptureFixture[str]
) -> None:
    api.fakes.inference.behave = _failing(RuntimeError("hunter2"))  # type: ignore[assignment]
    response = api.post(INFER_PATH, json=_ROWS, headers={"X-Request-Id": "req-77"})
    assert (response.status_code, response.json()["type"]) == (500, "internal_error")
    assert "hunter2" not in response.text
    assert response.headers["x-request-id"] == "req-77"
    assert "req-77" in capfd.readouterr().out


def test_the_connection_serves_on_after_an_error(api: Api) -> None:
    connection = http.client.HTTPConnection(urlsplit(api.url).netloc, timeout=30)
    headers = {"Authorization": f"Bearer {USER_TOKEN}", "Content-Type": "application/json"}
    for body, status in ((b"{", 400), (b" " * ((1 << 20) + 1), 413), (json.dumps(_ROWS), 200)):
        connection.request("POST", INFER_PATH, body, headers)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == status
    connection.close()


def test_a_client_that_leaves_cancels_its_inference(
    api: Api, wait_until: Callable[[Callable[[], bool]], None]
) -> None:
    started, cancelled = threading.Event(), threading.Event()

    async def wait_for_ever(
        _route: InferenceRoute, inputs: pa.RecordBatch, parse_ns: int
    ) -> InferenceRecord:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return record_of(inputs, inputs, parse_ns)

    api.fakes.inference.behave = wait_for_ever
    _send_and_leave(api, started)
    assert cancelled.wait(10)
    wait_until(lambda: 'status="499"' in api.get("/metrics").text)


def test_an_inference_that_takes_long_is_answered_when_the_client_stays(api: Api) -> None:
    async def take_long(
        _route: InferenceRoute, inputs: pa.RecordBatch, parse_ns: int
    ) -> InferenceRecord:
        await asyncio.sleep(0.1)
        return record_of(inputs, inputs, parse_ns)

    api.fakes.inference.behave = take_long
    assert api.post(INFER_PATH, json=_ROWS).json()[0]["out"]["name"] == "a"


def test_inferences_are_counted_by_pipeline_and_status(api: Api) -> None:
    api.post(INFER_PATH, json=_ROWS)
    api.post("/v1/api/pipelines/infer/x-1/made-up", json=_ROWS)
    text = api.get("/metrics").text
    assert re.search(r'byop_inferences_total{pipeline="chat",status="200"} [1-9]', text)
    assert 'byop_inferences_total{pipeline="",status="404"}' in text
    assert "made-up" not in text


def _send_and_leave(api: Api, started: threading.Event) -> None:
    host, port = urlsplit(api.url).netloc.split(":")
    body = json.dumps(_ROWS).encode()
    head = (
        f"POST {INFER_PATH} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {USER_TOKEN}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection((host, int(port)), timeout=30) as client:
        client.sendall(head.encode() + body)
        assert started.wait(10)


def _bomb(column: pa.Array) -> bytes:
    """Return a small Arrow file that stands for ``column``, which is large."""
    sink = pa.BufferOutputStream()
    batch = pa.record_batch([column], names=["x"])
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_file(sink, batch.schema, options=options) as writer:
        writer.write_batch(batch)
    body = bytes(sink.getvalue())
    assert len(body) < 64_000
    return body


@pytest.mark.parametrize(
    "column",
    [
        pytest.param(pa.array([0] * 1_000_000), id="compressed"),
        pytest.param(pa.array(["x" * 9_000] * 1_000).dictionary_encode(), id="dictionary"),
    ],
)
def test_what_a_body_decodes_to_is_admitted_as_if_it_had_come(api: Api, column: pa.Array) -> None:
    fake = api.fakes.inference
    fake.schema, fake.memory.limit_bytes = None, 10_000_000
    body, headers = _bomb(column), {"Content-Type": _ARROW}
    held: list[int] = []
    answers: list[int] = []

    async def infer_again(
        _route: InferenceRoute, inputs: pa.RecordBatch, parse_ns: int
    ) -> InferenceRecord:
        held.append(fake.memory.held_bytes)
        if len(held) == 1:
            second = await asyncio.to_thread(api.post, INFER_PATH, data=body, headers=headers)
            answers.append(second.status_code)
        return record_of(inputs, inputs, parse_ns)

    fake.behave = infer_again
    assert api.post(INFER_PATH, data=body, headers=headers).status_code == 200
    assert (len(held), answers) == (1, [429])
    assert held[0] > 8_000_000
    assert fake.memory.held_bytes == 0


@pytest.mark.parametrize(
    ("column", "is_on_loop"),
    [
        pytest.param(pa.array([0] * 1_000), True, id="small"),
        pytest.param(pa.array([0] * 1_000_000), False, id="compressed"),
        pytest.param(pa.array(["x" * 90] * 100).dictionary_encode(), False, id="dictionary"),
    ],
)
def test_a_table_that_decodes_to_much_is_decoded_in_a_thread(
    api: Api, monkeypatch: pytest.MonkeyPatch, column: pa.Array, is_on_loop: bool
) -> None:
    decoded_in: list[threading.Thread] = []
    read = IncomingTable.read

    def observed(table: IncomingTable, admit: Callable[[int], None]) -> pa.RecordBatch:
        decoded_in.append(threading.current_thread())
        return read(table, admit)

    monkeypatch.setattr(IncomingTable, "read", observed)
    api.fakes.inference.schema = None
    answer = api.post(INFER_PATH, data=_bomb(column), headers={"Content-Type": _ARROW})
    assert answer.status_code == 200
    assert (decoded_in == [api.fakes.inference.loop_thread]) is is_on_loop


@pytest.mark.parametrize(("rows", "is_on_loop"), [(1_000, True), (60_000, False)])
def test_json_of_half_a_mebibyte_is_decoded_in_a_thread(
    api: Api, monkeypatch: pytest.MonkeyPatch, rows: int, is_on_loop: bool
) -> None:
    decoded_in: list[threading.Thread] = []

    def observed(body: bytes, schema: pa.Schema | None, limits: TableLimits) -> pa.RecordBatch:
        decoded_in.append(threading.current_thread())
        return decode_json(body, schema, limits)

    monkeypatch.setattr(infer, "decode_json", observed)
    api.fakes.inference.schema = None
    body = b"[" + b",".join([b'{"a":[]}'] * rows) + b"]"
    answer = api.post(INFER_PATH, data=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 200
    assert (decoded_in == [api.fakes.inference.loop_thread]) is is_on_loop
