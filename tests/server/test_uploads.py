import base64
import hashlib
import json
import select
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from urllib.parse import urlsplit

import pyarrow as pa
import pytest

from byop.domain.models import Framework, Visibility
from byop.settings import Settings
from tests.fakes.services import USER_TOKEN
from tests.server.conftest import Api

_SCHEMA = pa.schema([pa.field("text", pa.string())])
_ENCODED = base64.b64encode(bytes(_SCHEMA.serialize())).decode()
_METADATA = {
    "name": "apimodel",
    "visibility": "public",
    "workspace_id": "7",
    "conversion": {
        "framework": "custom",
        "python_version": "3.8",
        "requirements": ["tqdm"],
        "arch": "x86",
        "accel": {"qaic": {}},
        "framework_config": {"config": {"model_path": "./model/"}},
    },
    "input_schema": _ENCODED,
    "output_schema": _ENCODED,
}
_CONTENT = b"PK\x03\x04 not really a zip"
_UPLOADED = {"insert_models": {"returning": [{"models": [{"id": 1}]}]}}


def _files(metadata: object = _METADATA, kind: str = "application/json") -> dict[str, object]:
    return {
        "metadata": (None, json.dumps(metadata), kind),
        "file": ("dir/model.zip", _CONTENT, "application/octet-stream"),
    }


@pytest.mark.parametrize("route", ["upload_and_convert", "upload", "upload_stream"])
def test_an_upload_is_stored_with_what_its_metadata_says(api: Api, route: str) -> None:
    response = api.post(f"/v1/api/models/{route}", files=_files())
    assert (response.status_code, response.json()) == (200, _UPLOADED)
    upload = api.fakes.models.uploads[0]
    assert (upload.name, upload.workspace_id) == ("apimodel", 7)
    assert upload.visibility is Visibility.PUBLIC
    assert upload.file_name == "model.zip"
    assert upload.signature.inputs == upload.signature.outputs == _SCHEMA
    conversion = upload.conversion
    assert conversion.framework is Framework.CUSTOM
    assert (conversion.python_version, conversion.requirements) == ("3.8", ("tqdm",))
    assert json.loads(conversion.accel) == {"qaic": {}}
    assert json.loads(conversion.framework_config) == {"config": {"model_path": "./model/"}}
    assert api.fakes.models.versions[1].sha == hashlib.sha256(_CONTENT).hexdigest()


def test_metadata_may_come_after_the_file(api: Api) -> None:
    files = dict(reversed(list(_files().items())))
    assert api.post("/v1/api/models/upload_and_convert", files=files).json() == _UPLOADED
    assert api.fakes.models.versions[1].sha == hashlib.sha256(_CONTENT).hexdigest()
    assert api.fakes.models.checked == []


def test_metadata_needs_no_content_type(api: Api) -> None:
    files = {**_files(), "metadata": (None, json.dumps(_METADATA))}
    assert api.post("/v1/api/models/upload_and_convert", files=files).json() == _UPLOADED


def test_conversion_and_requirements_may_be_text(api: Api) -> None:
    conversion = {"framework": "custom", "requirements": "[]"}
    metadata = {**_METADATA, "conversion": json.dumps(conversion)}
    api.post("/v1/api/models/upload_and_convert", files=_files(metadata))
    assert api.fakes.models.uploads[0].conversion.requirements == ()


def test_onnx_needs_no_schemas(api: Api) -> None:
    metadata = {
        "name": "ccfraud",
        "visibility": "public",
        "workspace_id": 7,
        "conversion": {"framework": "onnx", "python_version": "3.8", "requirements": []},
    }
    files = {"metadata": (None, json.dumps(metadata)), "file": ("ccfraud", b"onnx")}
    api.post("/v1/api/models/upload_and_convert", files=files)
    upload = api.fakes.models.uploads[0]
    assert upload.conversion.framework is Framework.ONNX
    assert (upload.signature.inputs, upload.signature.outputs) == (None, None)


@pytest.mark.parametrize("route", ["upload_stream", "upload_and_convert"])
def test_form_fields_do_instead_of_metadata(api: Api, route: str) -> None:
    data = {
        "name": "stream",
        "filename": "./models/ccfraud.onnx",
        "visibility": "public",
        "workspace_id": 7,
    }
    response = api.post(f"/v1/api/models/{route}", data=data, files={"file": ("stream", b"onnx")})
    assert response.json() == _UPLOADED
    upload = api.fakes.models.uploads[0]
    assert (upload.file_name, upload.conversion.framework) == ("ccfraud.onnx", Framework.ONNX)


def test_a_form_field_after_the_file_counts_too(api: Api) -> None:
    files = [
        ("name", (None, "stream")),
        ("workspace_id", (None, "7")),
        ("file", ("model.onnx", b"onnx")),
        ("visibility", (None, "public")),
        ("conversion", (None, '{"requirements": ["tqdm"]}')),
    ]
    assert api.post("/v1/api/models/upload_stream", files=files).json() == _UPLOADED
    upload = api.fakes.models.uploads[0]
    assert upload.visibility is Visibility.PUBLIC
    assert upload.conversion.requirements == ("tqdm",)


def test_a_large_file_streams_through_in_pieces(api: Api) -> None:
    size, piece = 48 << 20, b"x" * (1 << 20)
    head, tail = _envelope()

    def body() -> Iterator[bytes]:
        yield head
        for _ in range(size // len(piece)):
            yield piece
        yield tail

    headers = {"Content-Type": "multipart/form-data; boundary=b0"}
    response = api.post("/v1/api/models/upload_and_convert", data=body(), headers=headers)
    assert response.json() == _UPLOADED
    assert api.fakes.models.versions[1].size_bytes == size
    (file,) = api.fakes.models.files
    assert file.largest_chunk < 1 << 20
    assert file.is_discarded


@pytest.mark.parametrize(
    ("metadata", "told"),
    [
        ({**_METADATA, "name": None}, "name"),
        ({**_METADATA, "workspace_id": "seven"}, "workspace_id"),
        ({**_METADATA, "visibility": "secret"}, "visibility"),
        ({**_METADATA, "conversion": {"framework": "cobol"}}, "'cobol' is not supported"),
        ({**_METADATA, "input_schema": "!!"}, ""),
        ([], "metadata"),
    ],
)
def test_wrong_metadata_is_400_and_says_what(api: Api, metadata: object, told: str) -> None:
    response = api.post("/v1/api/models/upload_and_convert", files=_files(metadata))
    assert response.status_code == 400
    assert told in response.json()["error"]
    assert api.fakes.models.uploads == []


def test_a_file_of_no_known_kind_needs_a_framework(api: Api) -> None:
    metadata = {"name": "m", "workspace_id": 7}
    files = {"metadata": (None, json.dumps(metadata)), "file": ("model.bin", b"x")}
    response = api.post("/v1/api/models/upload", files=files)
    assert response.status_code == 400
    assert "framework is missing" in response.json()["error"]


def test_a_body_without_a_file_is_400(api: Api) -> None:
    files = {"metadata": (None, json.dumps(_METADATA))}
    response = api.post("/v1/api/models/upload_and_convert", files=files)
    assert (response.status_code, response.json()["type"]) == (400, "invalid_payload")


def test_a_body_that_is_no_multipart_is_415(api: Api) -> None:
    response = api.post("/v1/api/models/upload_and_convert", json=_METADATA)
    assert (response.status_code, response.json()["type"]) == (415, "unsupported_media_type")


def test_an_upload_that_declares_more_than_the_limit_is_413(api: Api) -> None:
    with socket.create_connection(_address(api), timeout=30) as client:
        client.sendall(_request_head(80 << 20))
        assert client.recv(12) == b"HTTP/1.1 413"


def test_an_upload_that_breaks_off_stores_nothing(api: Api) -> None:
    head, _ = _envelope()
    with socket.create_connection(_address(api), timeout=30) as client:
        client.sendall(_request_head(len(head) + 1000) + head + b"half of it")
        client.shutdown(socket.SHUT_WR)
        client.recv(1)
    assert api.get("/health").status_code == 200
    assert api.fakes.models.uploads == []


def test_slow_uploads_do_not_keep_another_waiting(api: Api) -> None:
    head, _ = _envelope()
    with ExitStack() as stack:
        for _ in range(40):
            slow = stack.enter_context(socket.create_connection(_address(api), timeout=30))
            slow.sendall(_request_head(len(head) + 1000) + head + b"half of it")
        answer = api.post("/v1/api/models/upload_and_convert", files=_files())
        assert (answer.status_code, answer.json()) == (200, _UPLOADED)


def test_no_more_uploads_than_allowed_run_at_once(
    api: Api, settings: Settings, wait_until: Callable[[Callable[[], bool]], None]
) -> None:
    head, _ = _envelope()
    with ExitStack() as stack:
        slow = [
            stack.enter_context(socket.create_connection(_address(api), timeout=30))
            for _ in range(settings.max_uploads + 1)
        ]
        for client in slow:
            client.sendall(_request_head(len(head) + 1000) + head + b"half of it")
        refused, _, _ = select.select(slow, [], [], 20)
        assert [client.recv(12) for client in refused] == [b"HTTP/1.1 429"]
        answer = api.post("/v1/api/models/upload_and_convert", files=_files())
        assert (answer.status_code, answer.headers["Retry-After"]) == (429, "1")
        assert "64 uploads at once" in answer.json()["error"]
    wait_until(lambda: _status_of_an_upload(api) == 200)


def _status_of_an_upload(api: Api) -> int:
    return api.post("/v1/api/models/upload_and_convert", files=_files()).status_code


def test_an_upload_without_a_declared_length_is_broken_off_at_the_limit(api: Api) -> None:
    head, _ = _envelope()

    def body() -> Iterator[bytes]:
        yield head
        for _ in range(100):
            yield bytes(1 << 20)

    headers = {"Content-Type": "multipart/form-data; boundary=b0"}
    response = api.post("/v1/api/models/upload_and_convert", data=body(), headers=headers)
    assert (response.status_code, response.json()["type"]) == (413, "too_large")
    assert [file.is_discarded for file in api.fakes.models.files] == [True]


def test_a_part_that_comes_twice_is_400(api: Api) -> None:
    files = [*_files().items(), ("file", ("other.zip", b"other"))]
    response = api.post("/v1/api/models/upload_and_convert", files=files)
    assert (response.status_code, response.json()["type"]) == (400, "invalid_payload")
    assert "'file' twice" in response.json()["error"]
    assert api.fakes.models.uploads == []


def _envelope() -> tuple[bytes, bytes]:
    head = (
        "--b0\r\n"
        'Content-Disposition: form-data; name="metadata"\r\n\r\n'
        f"{json.dumps(_METADATA)}\r\n"
        "--b0\r\n"
        'Content-Disposition: form-data; name="file"; filename="m.zip"\r\n\r\n'
    )
    return head.encode(), b"\r\n--b0--\r\n"


def _address(api: Api) -> tuple[str, int]:
    host, port = urlsplit(api.url).netloc.split(":")
    return host, int(port)


def _request_head(length: int) -> bytes:
    return (
        "POST /v1/api/models/upload_and_convert HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: Bearer {USER_TOKEN}\r\n"
        "Content-Type: multipart/form-data; boundary=b0\r\n"
        f"Content-Length: {length}\r\n\r\n"
    ).encode()
