import base64

import pytest
import requests
from requests.auth import HTTPBasicAuth

from byop.server.routes import tokens
from byop.server.routes.tokens import PATH
from tests.fakes.services import ADMIN, CLIENT_SECRET, PASSWORD
from tests.server.conftest import Api

_LOG_IN = {"grant_type": "password", "username": ADMIN.username, "password": PASSWORD}


def _ask(
    api: Api,
    form: dict[str, str],
    *,
    auth: HTTPBasicAuth | None = None,
    headers: dict[str, str] | None = None,
) -> requests.Response:
    return requests.post(f"{api.url}{PATH}", data=form, auth=auth, headers=headers, timeout=30)


def test_a_password_and_a_basic_client_give_both_tokens_for_the_user(api: Api) -> None:
    response = _ask(api, _LOG_IN, auth=HTTPBasicAuth("api-client", CLIENT_SECRET))
    answer = response.json()
    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-store"
    assert set(answer) == {
        "access_token",
        "expires_in",
        "refresh_expires_in",
        "refresh_token",
        "token_type",
        "not-before-policy",
        "session_state",
        "scope",
    }
    assert (answer["token_type"], answer["not-before-policy"]) == ("Bearer", 0)
    assert (answer["expires_in"], answer["refresh_expires_in"]) == (3600, 86_400)
    assert api.fakes.tokens.access[answer["access_token"]].user_id == ADMIN.id


def test_a_basic_secret_may_be_escaped_as_the_rfc_says(api: Api) -> None:
    escaped = base64.b64encode(b"api-client:s3cr%3Aet+%25").decode()
    response = _ask(api, _LOG_IN, headers={"Authorization": f"Basic {escaped}"})
    assert response.status_code == 200


def test_the_sdk_logs_in_without_a_secret(api: Api) -> None:
    assert _ask(api, {**_LOG_IN, "client_id": "sdk-client"}).status_code == 200


def test_a_client_may_give_its_secret_in_the_form(api: Api) -> None:
    form = {
        "grant_type": "client_credentials",
        "client_id": "api-client",
        "client_secret": CLIENT_SECRET,
    }
    answer = _ask(api, form).json()
    assert "refresh_token" not in answer
    assert answer["refresh_expires_in"] == 0
    principal = api.fakes.tokens.access[answer["access_token"]]
    assert (principal.user_id, principal.client_id) == (None, "api-client")


def test_a_refresh_token_gives_new_tokens_for_the_same_user(api: Api) -> None:
    auth = HTTPBasicAuth("api-client", CLIENT_SECRET)
    first = _ask(api, _LOG_IN, auth=auth).json()
    form = {"grant_type": "refresh_token", "refresh_token": first["refresh_token"]}
    second = _ask(api, form, auth=auth).json()
    assert second["access_token"] != first["access_token"]
    assert api.fakes.tokens.access[second["access_token"]].user_id == ADMIN.id


@pytest.mark.parametrize(
    ("form", "status", "error"),
    [
        ({**_LOG_IN, "password": "wrong", "client_id": "sdk-client"}, 400, "invalid_grant"),
        ({**_LOG_IN, "client_id": "api-client", "client_secret": "no"}, 401, "invalid_client"),
        ({**_LOG_IN, "client_id": "api-client"}, 401, "invalid_client"),
        (_LOG_IN, 400, "invalid_request"),
        ({"grant_type": "password", "client_id": "sdk-client"}, 400, "invalid_request"),
        ({"grant_type": "magic", "client_id": "sdk-client"}, 400, "unsupported_grant_type"),
        ({"client_id": "sdk-client"}, 400, "unsupported_grant_type"),
        (
            {"grant_type": "client_credentials", "client_id": "sdk-client"},
            400,
            "unauthorized_client",
        ),
        (
            {"grant_type": "refresh_token", "client_id": "sdk-client", "refresh_token": "x"},
            400,
            "invalid_grant",
        ),
    ],
)
def test_a_refusal_follows_the_rfc(api: Api, form: dict[str, str], status: int, error: str) -> None:
    response = _ask(api, form)
    assert response.status_code == status
    assert set(response.json()) == {"error", "error_description"}
    assert response.json()["error"] == error
    assert response.headers["cache-control"] == "no-store"
    assert ("www-authenticate" in response.headers) == (status == 401)


@pytest.mark.parametrize("header", ["Basic ???", "Basic " + base64.b64encode(b"\xff\xfe").decode()])
def test_a_basic_header_that_cannot_be_read_is_an_invalid_client(api: Api, header: str) -> None:
    response = _ask(api, _LOG_IN, headers={"Authorization": header})
    assert response.status_code == 401
    assert response.json()["error"] == "invalid_client"


def test_a_body_that_is_no_text_is_an_invalid_request(api: Api) -> None:
    response = requests.post(f"{api.url}{PATH}", data=b"\xff\xfe", timeout=30)
    assert response.status_code == 400
    assert response.json()["error"] == "invalid_request"


def test_a_field_that_comes_twice_is_an_invalid_request(api: Api) -> None:
    fields = [*_LOG_IN.items(), ("client_id", "sdk-client"), ("password", "another")]
    response = requests.post(f"{api.url}{PATH}", data=fields, timeout=30)
    assert response.status_code == 400
    assert response.json() == {
        "error": "invalid_request",
        "error_description": "a field comes twice",
    }


def test_log_ins_beyond_those_that_may_wait_are_429(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "MAX_WAITING", 0)
    response = _ask(api, {**_LOG_IN, "client_id": "sdk-client"})
    assert (response.status_code, response.headers["retry-after"]) == (429, "1")
    assert response.json()["error"] == "temporarily_unavailable"


def test_the_clients_scope_is_told_back(api: Api) -> None:
    form = {**_LOG_IN, "client_id": "sdk-client", "scope": "offline_access"}
    assert _ask(api, form).json()["scope"] == "offline_access"
