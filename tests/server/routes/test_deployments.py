import json
import re

import pytest

from byop.server.app import create_app
from byop.settings import Settings
from tests.fakes.services import FakeServices
from tests.server.conftest import Api, Server


def _deploy(api: Api, framework: str) -> dict[str, object]:
    metadata = {"name": "m", "workspace_id": 1, "conversion": {"framework": framework}}
    files = {"metadata": (None, json.dumps(metadata)), "file": ("m.zip", b"PK")}
    api.post("/v1/api/models/upload", files=files)
    api.post("/v1/api/pipelines/deploy", json={"deploy_id": "chat", "pipeline_version_pk_id": 9})
    answer = api.post("/v1/api/status/get_deployment", json={"name": "chat-5"})
    status: dict[str, object] = answer.json()
    return status


def test_a_native_model_is_part_of_the_engine(api: Api) -> None:
    status = _deploy(api, "onnx")
    sha = api.fakes.models.versions[1].sha
    assert status == {
        "status": "Running",
        "details": [],
        "engines": [
            {
                "ip": "127.0.0.1",
                "name": "engine-chat-5",
                "status": "Running",
                "reason": None,
                "details": [],
                "isolation": "process",
                "pipeline_statuses": {
                    "pipelines": [{"id": "chat", "status": "Running", "version": "55f45c16"}]
                },
                "model_statuses": {
                    "models": [
                        {
                            "model_version_id": 1,
                            "name": "m",
                            "version": "0b989008-5f1d-453e-8085-98d97be1b722",
                            "sha": sha,
                            "status": "Running",
                        }
                    ]
                },
            }
        ],
        "engine_lbs": [
            {
                "ip": "127.0.0.1",
                "name": "engine-lb-chat-5",
                "status": "Running",
                "reason": None,
                "details": [],
            }
        ],
        "sidekicks": [],
    }


def test_a_custom_model_runs_in_sidekicks(api: Api) -> None:
    sidekicks = _deploy(api, "custom")["sidekicks"]
    assert isinstance(sidekicks, list)
    assert [s["name"] for s in sidekicks] == ["replica-m-0"]
    assert sidekicks[0]["statuses"]["models"][0]["name"] == "m"
    assert (sidekicks[0]["status"], sidekicks[0]["reason"]) == ("Running", None)


def test_the_external_url_is_where_the_request_came(api: Api) -> None:
    body = {"workspace_id": 1, "pipeline_name": "chat"}
    response = api.post("/v1/api/admin/get_pipeline_external_url", json=body)
    assert response.json() == {"url": f"{api.url}/v1/api/pipelines/infer/chat-5/chat"}


@pytest.mark.parametrize("host", ["evil.example/path", "a b", "user@host", "x" * 300])
def test_a_host_that_is_no_host_name_is_400(api: Api, host: str) -> None:
    body = {"workspace_id": 1, "pipeline_name": "chat"}
    response = api.post(
        "/v1/api/admin/get_pipeline_external_url", json=body, headers={"Host": host}
    )
    assert response.status_code == 400


def test_a_public_url_that_was_set_is_told_instead(settings: Settings) -> None:
    fakes = FakeServices()
    public = Settings(home=settings.home, public_url="https://models.example.com/")
    app = create_app(
        fakes.wired(),
        settings=public,
        open=fakes.open,
        close=fakes.close,
        check_ready=fakes.check_ready,
    )
    server = Server(app)
    api = Api(server.start(), fakes)
    body = {"workspace_id": 1, "pipeline_name": "chat"}
    url = api.post("/v1/api/admin/get_pipeline_external_url", json=body).json()["url"]
    api.session.close()
    server.stop()
    assert re.fullmatch(r"https://models\.example\.com/v1/api/pipelines/infer/chat-5/chat", url)
    assert fakes.events == ["open", "close"]


def test_a_pipeline_of_an_unknown_workspace_has_no_url(api: Api) -> None:
    body = {"workspace_id": 2, "pipeline_name": "chat"}
    response = api.post("/v1/api/admin/get_pipeline_external_url", json=body)
    assert response.status_code == 404
