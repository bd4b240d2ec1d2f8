import pytest
import requests

from byop.errors import NotAuthenticatedError
from byop.server.auth import bearer_token
from tests.fakes.services import PROGRAM_TOKEN
from tests.server.conftest import INFER_PATH, Api

_HEADERS = [None, "", "Bearer", "Bearer ", "Basic user-token", "user-token", "Bearer nobody"]


@pytest.mark.parametrize("header", _HEADERS)
@pytest.mark.parametrize("path", ["/v1/api/workspaces/list", INFER_PATH])
def test_a_request_without_a_valid_token_is_401_and_asks_for_one(
    api: Api, path: str, header: str | None
) -> None:
    headers = {} if header is None else {"Authorization": header}
    response = requests.post(f"{api.url}{path}", json={}, headers=headers, timeout=30)
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == 'Bearer realm="byop"'
    assert response.json()["type"] == "not_authenticated"
    assert response.json()["source"] == ("engine" if path == INFER_PATH else "api")


def test_the_scheme_is_read_in_any_case() -> None:
    assert bearer_token(b"bEARER  abc ") == "abc"


def test_a_token_of_other_characters_is_refused() -> None:
    with pytest.raises(NotAuthenticatedError):
        bearer_token("Bearer tökén".encode())


@pytest.mark.parametrize(
    "path",
    ["workspaces/list", "workspaces/create", "models/upload", "users/query", "pipelines/deploy"],
)
def test_a_program_may_call_nothing_but_inference(api: Api, path: str) -> None:
    headers = {"Authorization": f"Bearer {PROGRAM_TOKEN}"}
    response = api.post(f"/v1/api/{path}", json={}, headers=headers)
    assert response.status_code == 403
    assert response.json()["type"] == "not_allowed"


def test_a_program_may_call_inference(api: Api) -> None:
    headers = {"Authorization": f"Bearer {PROGRAM_TOKEN}"}
    response = api.post(INFER_PATH, json=[{"tensor": [1, 2], "name": "x"}], headers=headers)
    assert response.status_code == 200


def test_the_token_is_checked_before_the_body(api: Api) -> None:
    response = requests.post(
        f"{api.url}/v1/api/workspaces/create",
        data="{no json",
        headers={"Content-Type": "application/json"},
        timeout=30,
    )
    assert response.status_code == 401
