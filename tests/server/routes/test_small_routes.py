import re

import pytest
import requests

import byop
from byop.settings import Settings
from tests.fakes.services import ADMIN
from tests.server.conftest import Api


def test_config_needs_no_token(api: Api) -> None:
    response = api.get("/v1/api/config")
    assert response.json() == {"default_arch": "x86", "version": byop.__version__}


def test_features_are_the_documented_object(api: Api, settings: Settings) -> None:
    response = api.post("/v1/api/features/list", json={})
    assert response.json() == {
        "features": {"plateau": "true"},
        "name": settings.instance_name,
        "is_auth_enabled": True,
    }


def test_users_come_by_id_in_keycloaks_spelling(api: Api) -> None:
    everybody = api.post("/v1/api/users/query", json={}).json()
    assert list(everybody) == ["users"]
    user = everybody["users"][ADMIN.id]
    assert (user["id"], user["email"], user["enabled"]) == (ADMIN.id, ADMIN.email, True)
    assert user["createdTimestamp"] == 1_779_050_196_312
    one = api.post("/v1/api/users/query", json={"user_ids": [ADMIN.id]}).json()
    assert one == everybody
    assert api.post("/v1/api/users/query", json={"user_ids": ["x"]}).json() == {"users": {}}


def test_a_workspace_is_created_and_listed_as_documented(api: Api) -> None:
    created = api.post("/v1/api/workspaces/create", json={"workspace_name": "chat", "more": 1})
    assert created.json() == {"workspace_id": 1}
    listed = api.post("/v1/api/workspaces/list", json={}).json()
    assert listed == {
        "workspaces": [
            {
                "id": 1,
                "name": "chat",
                "created_at": "2026-05-17T20:36:36.312003+00:00",
                "created_by": ADMIN.id,
                "archived": False,
                "models": [4],
                "pipelines": [7, 8],
            }
        ]
    }


def test_listing_needs_no_body_and_takes_a_user(api: Api) -> None:
    api.post("/v1/api/workspaces/create", json={"workspace_name": "chat"})
    assert len(api.post("/v1/api/workspaces/list").json()["workspaces"]) == 1
    other = api.post("/v1/api/workspaces/list", json={"user_id": "nobody"})
    assert other.json() == {"workspaces": []}


def test_a_taken_name_is_409_with_the_facts(api: Api) -> None:
    api.post("/v1/api/workspaces/create", json={"workspace_name": "chat"})
    response = api.post("/v1/api/workspaces/create", json={"workspace_name": "chat"})
    assert response.status_code == 409
    assert response.json()["facts"] == {"kind": "workspace", "name": "chat"}


def test_health_tells_version_and_uptime_and_no_process_id(api: Api) -> None:
    answer = api.get("/health").json()
    assert set(answer) == {"status", "version", "uptime_s", "isolation"}
    assert (answer["status"], answer["version"]) == ("ok", byop.__version__)


def test_metrics_count_requests_by_route_template(api: Api) -> None:
    api.post("/v1/api/workspaces/list", json={})
    api.post("/v1/api/nothing/at/all", json={})
    text = api.get("/metrics").text
    assert re.search(
        r'byop_http_requests_total{method="POST",route="/v1/api/workspaces/list",status="200"} \d',
        text,
    )
    assert 'route="unmatched",status="404"' in text
    assert "/nothing/at/all" not in text
    assert "byop_requests_in_progress 1.0" in text
    assert "process_resident_memory_bytes" in text


@pytest.mark.parametrize("path", ["/health", "/ready"])
def test_probes_may_send_head(api: Api, path: str) -> None:
    answer = requests.head(api.url + path, timeout=10)
    assert answer.status_code == 200
    assert answer.content == b""
