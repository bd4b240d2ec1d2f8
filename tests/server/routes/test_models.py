import base64
import hashlib
import json

import pyarrow as pa

from byop.tables.schemas import schema_from_base64
from tests.fakes.services import ADMIN
from tests.server.conftest import Api

_SCHEMA = pa.schema([pa.field("text", pa.string())])


def _upload(api: Api, framework: str = "custom") -> None:
    metadata = {
        "name": "chat",
        "workspace_id": 7,
        "conversion": {"framework": framework, "python_version": "3.8", "requirements": []},
        "input_schema": base64.b64encode(bytes(_SCHEMA.serialize())).decode(),
    }
    files = {"metadata": (None, json.dumps(metadata)), "file": ("chat.zip", b"PK")}
    assert api.post("/v1/api/models/upload_and_convert", files=files).status_code == 200


def test_a_version_is_told_nested_and_flat(api: Api) -> None:
    _upload(api)
    answer = api.post("/v1/api/models/get_version_by_id", json={"model_version_id": "1"}).json()
    version = answer["model_version"]["model_version"]
    sha = hashlib.sha256(b"PK").hexdigest()
    uuid = "0b989008-5f1d-453e-8085-98d97be1b722"
    assert version["file_info"] == {
        "version": uuid,
        "sha": sha,
        "file_name": "chat.zip",
        "size": 2,
    }
    assert (version["id"], version["sha"]) == (1, sha)
    assert (version["name"], version["model_id"], version["models_pk_id"]) == ("chat", "chat", 4)
    assert (version["model_version"], version["file_name"]) == (uuid, "chat.zip")
    assert (version["visibility"], version["workspace_id"]) == ("private", 7)
    assert (version["status"], version["error_summary"]) == ("pending_load_container", None)
    assert version["created_by"] == version["owner_id"] == ADMIN.id
    assert version["warnings"] == ["python_version 3.8 is not obeyed"]
    assert version["conversion"]["framework"] == "custom"
    assert version["task_id"] is None


def test_its_configuration_holds_runtime_and_schemas(api: Api) -> None:
    _upload(api)
    answer = api.post("/v1/api/models/get_version_by_id", json={"model_version_id": 1}).json()
    config = answer["model_version"]["config"]
    assert (config["id"], config["model_version_id"], config["runtime"]) == (1, 1, "flight")
    assert schema_from_base64(config["input_schema"]) == _SCHEMA
    assert config["output_schema"] is None


def test_a_version_that_is_not_there_is_404(api: Api) -> None:
    response = api.post("/v1/api/models/get_version_by_id", json={"model_version_id": 99})
    assert (response.status_code, response.json()["type"]) == (404, "not_found")
