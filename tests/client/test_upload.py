import io
import json
import shlex
from base64 import b64decode
from email.message import Message
from email.parser import BytesParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from byop.client import Client, Framework
from byop.client.upload import MultipartFile
from byop.errors import ApiError, InvalidArchiveError, InvalidInputError
from byop.wire.errors import problem_body
from tests.fakes.api_server import ApiServer, Received, Scripted, workspace

UPLOAD = "/v1/api/models/upload_and_convert"
INPUTS = pa.schema([pa.field("text", pa.string())])
OUTPUTS = pa.schema([pa.field("generated_text", pa.string())])


@pytest.fixture
def project(tmp_path: Path) -> Path:
    path = tmp_path / "echo.zip"
    path.write_bytes(bytes(range(256)) * 4000)
    return path


def metadata_of(request: Received) -> dict[str, Any]:
    content = parts_of(request)["metadata"].get_payload(decode=True)
    assert isinstance(content, bytes)
    parsed: dict[str, Any] = json.loads(content)
    return parsed


def parts_of(request: Received) -> dict[str, Message]:
    head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
    message = BytesParser().parsebytes(head + request.body)
    parts = message.get_payload()
    assert isinstance(parts, list)
    found = {}
    for part in parts:
        assert isinstance(part, Message)
        found[str(part.get_param("name", header="content-disposition"))] = part
    return found


def test_upload_sends_metadata_and_the_file(api: ApiServer, client: Client, project: Path) -> None:
    api.workspaces.append(workspace(5, "work"))
    client.set_current_workspace(client.get_workspace("work"))
    model = client.upload_model(
        "echo", str(project), Framework.CUSTOM, INPUTS, OUTPUTS, requirements=["httpx"]
    )
    (request,) = api.sent_to(UPLOAD)
    parts = parts_of(request)
    metadata = metadata_of(request)
    assert parts["metadata"].get_content_type() == "application/json"
    assert {key: metadata[key] for key in ("name", "visibility", "workspace_id", "conversion")} == {
        "name": "echo",
        "visibility": "private",
        "workspace_id": 5,
        "conversion": {
            "arch": "x86",
            "accel": "none",
            "framework": "custom",
            "requirements": ["httpx"],
        },
    }
    assert pa.ipc.read_schema(pa.py_buffer(b64decode(metadata["input_schema"]))) == INPUTS
    assert pa.ipc.read_schema(pa.py_buffer(b64decode(metadata["output_schema"]))) == OUTPUTS
    assert parts["file"].get_content_type() == "application/octet-stream"
    assert parts["file"].get_filename() == "echo.zip"
    assert project.read_bytes() in request.body
    assert int(request.headers["content-length"]) == len(request.body)
    assert (model.id(), model.name(), model.sha()) == (7, "echo", "bc85ce59")
    assert model.version() == "0b989008-5f1d-453e-8085-98d97be1b722"
    assert model.status() == "ready"
    assert model.error_summary() is None


def test_upload_client_is_the_same_job(client: Client, project: Path) -> None:
    # Seed 004 calls it so, with keywords.
    model = client.upload_client(
        name="echo",
        path=str(project),
        input_schema=INPUTS,
        output_schema=OUTPUTS,
        framework=Framework.CUSTOM,
    )
    assert model.id() == 7


def test_native_upload_needs_no_schemas(api: ApiServer, client: Client, project: Path) -> None:
    client.upload_model("echo", project, "onnx", python_version="3.8")
    metadata = metadata_of(api.sent_to(UPLOAD)[0])
    assert "input_schema" not in metadata
    assert metadata["conversion"]["framework"] == "onnx"
    assert metadata["conversion"]["python_version"] == "3.8"


def test_upload_with_a_refused_token_sends_the_whole_file_again(
    api: ApiServer, client: Client, project: Path
) -> None:
    client.get_current_workspace()
    api.refused_tokens.add(client.auth.token())
    client.upload_model("echo", project, Framework.CUSTOM)
    first, second = api.sent_to(UPLOAD)
    assert first.body == second.body
    assert project.read_bytes() in second.body


def test_conversion_is_waited_for(api: ApiServer, client: Client, project: Path) -> None:
    api.statuses.extend(["pending_load_container", "attempting_load_container", "ready"])
    api.statuses.popleft()
    assert client.upload_model("echo", project, Framework.CUSTOM).status() == "ready"
    assert len(api.sent_to("/v1/api/models/get_version_by_id")) == 3


def test_conversion_need_not_be_waited_for(api: ApiServer, client: Client, project: Path) -> None:
    api.statuses.extend(["pending_load_container", "ready"])
    api.statuses.popleft()
    model = client.upload_model("echo", project, Framework.CUSTOM, convert_wait=False)
    assert repr(model).endswith("status='pending_load_container')")
    assert model.wait() is model
    assert model.status() == "ready"


def test_conversion_that_goes_on_too_long_is_an_error(
    api: ApiServer, client: Client, project: Path
) -> None:
    api.statuses[0] = "pending_load_container"
    model = client.upload_model("echo", project, Framework.CUSTOM, convert_wait=False)
    with pytest.raises(ApiError, match=r"still pending_load_container after 0\.1 s"):
        model.wait(timeout=0.1)


def test_failed_conversion_is_returned_and_told_on_standard_error(
    api: ApiServer, client: Client, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    api.statuses[0] = "error"
    api.error_summary = "No Inference-inherited class found in the model directory"
    model = client.upload_model("echo", project, Framework.CUSTOM)
    assert model.status() == "error"
    assert model.error_summary() == api.error_summary
    shown = capsys.readouterr()
    assert api.error_summary in shown.err
    assert shown.out == ""
    assert "error" in model._repr_html_()


def test_warnings_of_an_upload_are_kept_and_told_on_standard_error(
    api: ApiServer, client: Client, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    api.warnings = ("looks like a secret: .env",)
    model = client.upload_model("echo", project, Framework.CUSTOM)
    assert model.warnings() == api.warnings
    shown = capsys.readouterr()
    assert "looks like a secret: .env" in shown.err
    assert shown.out == ""
    assert "looks like a secret: .env" in model._repr_html_()


def test_nothing_is_printed_when_nobody_watches(
    api: ApiServer,
    client: Client,
    project: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    api.statuses.extend(["pending_load_container", "ready"])
    api.statuses.popleft()
    model = client.upload_model("echo", project, Framework.CUSTOM)
    client.build_pipeline("p").add_model_step(model).deploy().undeploy()
    assert capsys.readouterr() == ("", "")


def test_file_that_is_no_zip_raises_the_documented_text(
    api: ApiServer, client: Client, project: Path
) -> None:
    api.answer(UPLOAD, Scripted(400, problem_body(InvalidArchiveError(), 400, "api")))
    with pytest.raises(InvalidArchiveError, match=r"^Bad request: Not a valid ZIP file\.$"):
        client.upload_model("echo", project, Framework.CUSTOM)


def test_missing_file_is_named_before_anything_is_sent(api: ApiServer, client: Client) -> None:
    with pytest.raises(InvalidInputError, match=r"no file 'nowhere\.zip'"):
        client.upload_model("echo", "nowhere.zip", Framework.CUSTOM)
    assert api.sent_to(UPLOAD) == []


def test_configure_takes_what_changes_nothing_and_refuses_the_rest(
    client: Client, project: Path
) -> None:
    model = client.upload_model("echo", project, Framework.CUSTOM, INPUTS, OUTPUTS)
    assert model.configure("onnx") is model
    assert model.configure(input_schema=INPUTS, output_schema=OUTPUTS, tensor_fields=None) is model
    with pytest.raises(InvalidInputError, match="batch_config, tensor_fields"):
        model.configure(tensor_fields=["a"], batch_config="single")
    with pytest.raises(InvalidInputError, match="upload the model again"):
        model.configure(input_schema=OUTPUTS)


@pytest.mark.parametrize("size", [1, 7, 100, 1 << 18])
def test_body_is_the_same_read_in_pieces_or_whole(size: int) -> None:
    shown: list[int] = []
    content = bytes(range(256)) * 3
    body = MultipartFile({"a": 1}, io.BytesIO(content), 'x".zip', len(content), shown.append)
    whole = body.read()
    assert len(whole) == len(body)
    body.rewind()
    pieces = list(iter(lambda: body.read(size), b""))
    assert b"".join(pieces) == whole
    assert max(map(len, pieces)) <= size
    assert shown[-1] == len(content)


def test_curl_command_does_the_same_upload(client: Client) -> None:
    command = client.generate_upload_model_api_command(
        base_url="https://example.wallaroo.ai/",
        name="sample",
        path="llama_byop.zip",
        framework=Framework.CUSTOM,
        input_schema=INPUTS,
        output_schema=OUTPUTS,
    )
    words = shlex.split(command)
    assert words[0] == "curl"
    assert words[-1] == "https://example.wallaroo.ai/v1/api/models/upload_and_convert"
    assert f"Authorization: Bearer {client.auth.token()}" in words
    (metadata,) = [word for word in words if word.startswith("metadata=")]
    text = metadata.removeprefix("metadata=").removesuffix(";type=application/json")
    assert json.loads(text)["name"] == "sample"
    assert "file=@llama_byop.zip;type=application/octet-stream" in words
