"""Group B: JSON bodies of a real server (docs/security.md)."""

import gzip
import json
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pytest
import requests

from tests.attacks.hostile_requests import ARROW_FILE, ROW, SCHEMA, Target, running_target

pytestmark = pytest.mark.registry

_NOT_JSON = ["NaN", "Infinity", "-Infinity", "1e400", "-1e400", "9" * 5000, "-" + "9" * 400]


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with running_target(tmp_path_factory.mktemp("json")) as running:
        yield running


def row_with(column: str, text: str) -> bytes:
    others = [f"{json.dumps(name)}: {json.dumps(v)}" for name, v in ROW.items() if name != column]
    return ("[{" + ", ".join([*others, f'"{column}": {text}']) + "}]").encode()


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


@pytest.mark.parametrize("depth", [65, 1024, 100_000])
def test_b01_deep_json_is_refused_everywhere(target: Target, depth: int) -> None:
    for answer in (
        target.infer(nested(depth).encode()),
        target.infer(row_with("tensor", nested(depth))),
        target.manage("workspaces/list", nested(depth).encode()),
        target.manage("workspaces/list", f'{{"x": {nested(depth)}}}'.encode()),
        target.upload(f'{{"name": {nested(depth)}}}'.encode()),
        target.manage(
            "pipelines/create",
            json.dumps(
                {"pipeline_id": "x", "workspace_id": 1, "definition": nested(depth)}
            ).encode(),
        ),
    ):
        assert answer.status == 400, answer
        assert answer.kind.startswith(("invalid_", "column_")), answer
    target.require_serving()


def test_b01_64_levels_are_read(target: Target) -> None:
    assert target.manage("workspaces/list", f'{{"x": {nested(63)}}}'.encode()).status == 200
    assert target.manage("workspaces/list", f'{{"x": {nested(64)}}}'.encode()).status == 400


@pytest.mark.parametrize("literal", _NOT_JSON[:5])
def test_b02_what_json_has_no_number_for_is_refused_everywhere(
    target: Target, literal: str
) -> None:
    body = f'{{"workspace_id": {literal}}}'.encode()
    text = json.dumps({"pipeline_id": "x", "workspace_id": 1, "definition": literal})
    for answer, kind in (
        (target.infer(row_with("score", literal)), "invalid_payload"),
        (target.manage("workspaces/list", body), "invalid_payload"),
        (target.upload(body), "invalid_payload"),
        (target.manage("pipelines/create", text.encode()), "invalid_pipeline"),
    ):
        assert (answer.status, answer.kind) == (400, kind), answer


def test_b02_missing_numbers_travel_as_null(target: Target) -> None:
    answer = target.infer(row_with("score", "null"))
    assert answer.rows()[0]["in"]["score"] is None

    row = pa.RecordBatch.from_pylist([{**ROW, "score": float("nan")}], schema=SCHEMA)
    answer = target.infer_arrow(arrow_file(row))
    assert answer.rows()[0]["in"]["score"] is None
    assert answer.rows()[0]["out"]["score"] is None

    back = target.post(target.infer_path, arrow_file(row), {"Content-Type": ARROW_FILE})
    table = pa.ipc.open_file(back.content).read_all()
    assert str(table["out"][0].as_py()["score"]) == "nan"


def test_b03_a_key_said_twice_is_refused_where_it_configures(target: Target) -> None:
    for answer, kind in (
        (target.manage("workspaces/list", b'{"user_id": "a", "user_id": "b"}'), "invalid_payload"),
        (target.manage("workspaces/list", b'{"x": {"a": 1, "a": 1}}'), "invalid_payload"),
        (target.upload(b'{"name": "a", "workspace_id": 1, "name": "b"}'), "invalid_payload"),
        (
            target.manage(
                "pipelines/create",
                json.dumps(
                    {
                        "pipeline_id": "x",
                        "workspace_id": 1,
                        "definition": '{"steps": [], "steps": []}',
                    }
                ).encode(),
            ),
            "invalid_pipeline",
        ),
    ):
        assert (answer.status, answer.kind) == (400, kind), answer
        assert "twice" in answer.text


def test_b03_a_field_of_the_token_form_said_twice_is_refused(target: Target) -> None:
    response = target.post(
        "/auth/realms/master/protocol/openid-connect/token",
        b"grant_type=password&username=a&username=b&password=c&client_id=sdk-client",
        {"Content-Type": "application/x-www-form-urlencoded", "Authorization": None},
    )
    assert (response.status_code, response.json()["error"]) == (400, "invalid_request")


def test_b03_of_a_column_said_twice_the_last_counts(target: Target) -> None:
    body = row_with("id", '7, "id": 8')
    assert target.infer(body).rows()[0]["in"]["id"] == 8


@pytest.mark.parametrize("digits", ["9" * 5000, "9" * 400, "9" * 30, str(2**63)])
def test_b04_integers_beyond_64_bits_are_refused(target: Target, digits: str) -> None:
    assert target.infer(row_with("id", digits)).status == 400
    for route in ("models/get_version_by_id", "pipelines/undeploy"):
        body = f'{{"model_version_id": {digits}, "pipeline_id": {digits}}}'.encode()
        assert target.manage(route, body).status == 400
        quoted = f'{{"model_version_id": "{digits}", "pipeline_id": "{digits}"}}'.encode()
        assert target.manage(route, quoted).status == 400


def test_b05_half_a_surrogate_pair_is_refused_everywhere(target: Target) -> None:
    for half in (b'"\\ud800"', b'"\\udc00x"', b'"\xed\xa0\x80"'):
        assert target.infer(row_with("text", "0").replace(b": 0", b": " + half)).status == 400
        answer = target.manage("workspaces/create", b'{"workspace_name": ' + half + b"}")
        assert (answer.status, answer.kind) == (400, "invalid_payload")
        assert target.upload(b'{"workspace_id": 1, "name": ' + half + b"}").status == 400
    whole = target.infer(row_with("text", '"\\ud83d\\ude00"'))
    assert whole.rows()[0]["out"]["text"] == "\N{GRINNING FACE}"


@pytest.mark.parametrize(
    "coding", ["gzip", "deflate", "br", "zstd", "gzip, gzip", "x-gzip", "GZIP"]
)
def test_b06_compressed_bodies_are_refused_before_they_are_read(
    target: Target, coding: str
) -> None:
    bomb = gzip.compress(b"[" + b" " * (10 << 20) + b"]") if "z" in coding else zlib.compress(b"[]")
    for path in (target.infer_path, "/v1/api/workspaces/list", "/v1/api/models/upload"):
        response = target.post(path, bomb, {"Content-Encoding": coding})
        assert (response.status_code, response.json()["type"]) == (415, "unsupported_media_type")
        assert response.headers["accept-encoding"] == "identity"
    target.require_serving()


@pytest.mark.parametrize("number", [2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63)])
def test_b15_int64_comes_back_exact(target: Target, number: int) -> None:
    answer = target.infer(row_with("id", str(number)))
    assert answer.rows()[0]["in"]["id"] == answer.rows()[0]["out"]["id"] == number

    row = pa.RecordBatch.from_pylist([{**ROW, "id": number}], schema=SCHEMA)
    assert target.infer_arrow(arrow_file(row)).rows()[0]["out"]["id"] == number
    headers = {"Accept": ARROW_FILE}
    back = target.post(target.infer_path, row_with("id", str(number)), headers)
    table = pa.ipc.open_file(back.content).read_all()
    assert table["out"][0].as_py()["id"] == number

    asked = {"pipeline_id": "echo", "workspace_id": 1, "page_size": 1}
    logged = target.manage("pipelines/get_logs", json.dumps(asked).encode())
    assert logged.rows()[0]["out"]["id"] == number


@pytest.mark.parametrize(
    ("rows", "kind"),
    [
        ([{k: v for k, v in ROW.items() if k != "id"}], "column_missing"),
        ([ROW, {k: v for k, v in ROW.items() if k != "id"}], "column_missing"),
        ([{**ROW, "more": 1}], "column_unexpected"),
        ([ROW, {**ROW, "more": 1}], "column_unexpected"),
        ([{**ROW, "tensor": [1.0]}, ROW], None),
        ([ROW, []], "invalid_payload"),
        ([ROW, None], "invalid_payload"),
        ([{**ROW, "id": "1"}], "column_type_mismatch"),
        ([{**ROW, "id": True}], "column_type_mismatch"),
        ([{**ROW, "id": 1.5}], "column_type_mismatch"),
        ({"text": ["a", "b"], "id": [1], "score": [1.0], "tensor": [[1.0, 2.0]]}, "column_length"),
        ({"text": "a", "id": 1, "score": 1.0, "tensor": [1.0, 2.0]}, "column_type_mismatch"),
        ({}, "column_missing"),
        ("text", "invalid_payload"),
    ],
)
def test_b14_records_that_do_not_fit_are_refused_by_column(
    target: Target, rows: object, kind: str | None
) -> None:
    answer = target.infer(json.dumps(rows).encode())
    if kind is None:
        assert answer.status == 400, answer
        return
    assert answer.status == 400, answer
    assert answer.kind.startswith(kind), answer


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "text/json",
        "application/x-www-form-urlencoded",
        "application/octet-stream",
        "application/python-pickle",
        "application/json; charset=utf-16",
        "application/json; charset=utf-7",
        'application/json;charset="ISO-8859-1"',
        "application/json, text/plain",
        "json",
        ";",
    ],
)
def test_b17_other_content_types_and_charsets_are_415(target: Target, content_type: str) -> None:
    for path in (target.infer_path, "/v1/api/workspaces/list", "/v1/api/models/upload"):
        response = target.post(path, b"{}", {"Content-Type": content_type})
        assert response.status_code == 415, path
        assert response.json()["type"] == "unsupported_media_type"


@pytest.mark.parametrize("content_type", [None, "application/json; charset=UTF-8"])
def test_b17_json_is_utf8_and_needs_no_content_type(
    target: Target, content_type: str | None
) -> None:
    headers = {"Content-Type": content_type}
    body = json.dumps([ROW])
    assert target.infer(body.encode(), headers).status == 200
    for encoding in ("utf-16", "utf-32", "utf-8-sig"):
        answer = target.infer(body.encode(encoding), headers)
        assert (answer.status, answer.kind) == (400, "invalid_payload")
        response = target.post("/v1/api/workspaces/list", "{}".encode(encoding), headers)
        assert response.status_code == 400


@pytest.mark.parametrize("name", ["null", "true", "no", "1e5", "0x1f", "2026-11-21", "12"])
def test_b18_names_that_yaml_would_read_otherwise_stay_text(target: Target, name: str) -> None:
    before = target.session.get(f"{target.server.url}/v1/api/openapi.json", timeout=30).text
    created = target.manage("workspaces/create", json.dumps({"workspace_name": name}).encode())
    assert created.status == 200
    number = json.loads(created.text)["workspace_id"]
    body = {"pipeline_id": name, "workspace_id": number, "definition": {}}
    assert target.manage("pipelines/create", json.dumps(body).encode()).status == 200
    listed = json.loads(target.manage("workspaces/list", b"{}").text)["workspaces"]
    assert name in [workspace["name"] for workspace in listed]
    document = target.session.get(f"{target.server.url}/v1/api/openapi.json", timeout=30).text
    assert document == before
    assert json.loads(document)["openapi"].startswith("3.1")


@pytest.mark.parametrize("name", ["a: b", "- a", "#x", "{a}", "a\nb", "'a'", "&a", "*", "ä", ""])
def test_b18_names_that_need_quoting_are_refused(target: Target, name: str) -> None:
    answer = target.manage("workspaces/create", json.dumps({"workspace_name": name}).encode())
    assert (answer.status, answer.kind) == (400, "invalid_name")


def test_one_bad_request_never_costs_another(target: Target) -> None:
    bad = [b"{", b"[" * 70_000, row_with("id", "1e400"), row_with("tensor", "[1]"), b"\xff", b""]

    def ask(connection: int) -> None:
        with requests.Session() as session:
            mine = Target(target.server, target.infer_path, target.token, session)
            for number in range(60):
                assert mine.infer(bad[(number + connection) % len(bad)]).status == 400
                row = {**ROW, "id": 1000 * connection + number}
                assert mine.infer(json.dumps([row]).encode()).rows()[0]["out"] == row

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(ask, range(6)))


def arrow_file(batch: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())
