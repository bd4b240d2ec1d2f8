"""The HTTP face over the real use cases and stores: what needs no model."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from requests.auth import HTTPBasicAuth

from byop.bootstrap import CREDENTIALS_FILE, build_app, build_gateway
from byop.server.routes.tokens import PATH
from byop.settings import Settings
from tests.server.conftest import Server

_Credentials = dict[str, str]


@pytest.fixture(scope="module")
def wired(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, _Credentials]]:
    home: Path = tmp_path_factory.mktemp("wired")
    server = Server(build_app(build_gateway(Settings(home=home, drain_s=1))))
    yield server.start(), json.loads((home / CREDENTIALS_FILE).read_text())
    server.stop()


def _token(url: str, credentials: _Credentials, form: dict[str, str]) -> dict[str, str]:
    auth = HTTPBasicAuth(credentials["confidentialClient"], credentials["confidentialPassword"])
    response = requests.post(f"{url}{PATH}", auth=auth, data=form, timeout=30)
    assert response.status_code == 200
    answer: dict[str, str] = response.json()
    return answer


def _log_in(url: str, credentials: _Credentials) -> dict[str, str]:
    form = {
        "grant_type": "password",
        "username": credentials["username"],
        "password": credentials["password"],
    }
    return _token(url, credentials, form)


def _post(url: str, path: str, token: str, body: object) -> requests.Response:
    headers = {"Authorization": f"Bearer {token}"}
    return requests.post(f"{url}/v1/api/{path}", json=body, headers=headers, timeout=30)


def test_the_first_users_token_opens_every_route(wired: tuple[str, _Credentials]) -> None:
    url, credentials = wired
    token = _log_in(url, credentials)["access_token"]
    created = _post(url, "workspaces/create", token, {"workspace_name": "chat"}).json()
    listed = _post(url, "workspaces/list", token, {}).json()["workspaces"]
    assert [w["name"] for w in listed] == ["admin@byop.local - Default Workspace", "chat"]
    body = {"pipeline_id": "empty", "workspace_id": str(created["workspace_id"]), "definition": {}}
    pipeline = _post(url, "pipelines/create", token, body).json()
    deploy = {
        "deploy_id": "empty",
        "pipeline_version_pk_id": pipeline["pipeline_variant_pk_id"],
    }
    refused = _post(url, "pipelines/deploy", token, deploy)
    assert (refused.status_code, refused.json()["type"]) == (400, "invalid_pipeline")
    logs = {"pipeline_id": "empty", "workspace_id": created["workspace_id"]}
    assert _post(url, "pipelines/get_logs", token, logs).json() == []
    half = _post(url, "pipelines/get_logs", token, {**logs, "start_time": "2026-01-01T00:00:00Z"})
    assert half.status_code == 400
    assert list(_post(url, "users/query", token, {}).json()["users"].values())


def test_a_refreshed_token_works_and_a_refresh_token_is_no_access_token(
    wired: tuple[str, _Credentials],
) -> None:
    url, credentials = wired
    first = _log_in(url, credentials)
    form = {"grant_type": "refresh_token", "refresh_token": first["refresh_token"]}
    second = _token(url, credentials, form)
    assert _post(url, "workspaces/list", second["access_token"], {}).status_code == 200
    assert _post(url, "workspaces/list", first["refresh_token"], {}).status_code == 401


def test_a_program_gets_as_far_as_inference(wired: tuple[str, _Credentials]) -> None:
    url, credentials = wired
    token = _token(url, credentials, {"grant_type": "client_credentials"})["access_token"]
    assert _post(url, "workspaces/list", token, {}).status_code == 403
    assert _post(url, "pipelines/infer/chat-1/chat", token, []).status_code == 404


def test_a_forged_token_is_401(wired: tuple[str, _Credentials]) -> None:
    url, credentials = wired
    head, body, _signature = _log_in(url, credentials)["access_token"].split(".")
    assert _post(url, "workspaces/list", f"{head}.{body}.AAAA", {}).status_code == 401


def test_it_is_ready(wired: tuple[str, _Credentials]) -> None:
    assert requests.get(f"{wired[0]}/ready", timeout=30).json() == {"status": "ready"}
