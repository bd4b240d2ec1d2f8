import threading
from concurrent.futures import ThreadPoolExecutor

import jwt
import pytest

from byop.client import BearerToken, Client, UserPassword
from byop.client.auth import PasswordAuth
from byop.errors import ApiError, NotAuthenticatedError
from tests.fakes.api_server import EMAIL, TOKEN_PATH, USER, ApiServer, Scripted


class FakeClock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def auth(api: ApiServer, clock: FakeClock) -> PasswordAuth:
    return PasswordAuth(UserPassword(EMAIL, "secret"), endpoint=api.url, timeout_s=5, clock=clock)


def grant_types(api: ApiServer) -> list[str]:
    return [grant["grant_type"] for grant in api.grants]


def test_password_grant_names_the_public_client(api: ApiServer, auth: PasswordAuth) -> None:
    assert jwt.decode(auth.token(), options={"verify_signature": False})["sub"] == USER
    assert api.grants == [
        {
            "client_id": "sdk-client",
            "grant_type": "password",
            "username": EMAIL,
            "password": "secret",
        }
    ]


def test_auth_header_is_ready_to_send(auth: PasswordAuth) -> None:
    assert auth.auth_header() == {"Authorization": f"Bearer {auth.token()}"}


def test_token_is_fetched_once_while_it_lives(api: ApiServer, auth: PasswordAuth) -> None:
    assert auth.token() == auth.token()
    assert grant_types(api) == ["password"]


def test_token_is_renewed_ahead_of_its_expiry(
    api: ApiServer, auth: PasswordAuth, clock: FakeClock
) -> None:
    first = auth.token()
    clock.now_s += 3600 - 61
    assert auth.token() == first
    clock.now_s += 2
    assert auth.token() != first
    assert grant_types(api) == ["password", "refresh_token"]
    assert api.grants[1] == {
        "client_id": "sdk-client",
        "grant_type": "refresh_token",
        "refresh_token": "refresh-1",
    }


def test_password_is_used_again_once_the_refresh_token_has_expired(
    api: ApiServer, auth: PasswordAuth, clock: FakeClock
) -> None:
    auth.token()
    clock.now_s += 4000
    auth.token()
    assert grant_types(api) == ["password", "password"]


def test_password_is_used_again_when_the_refresh_token_is_refused(
    api: ApiServer, auth: PasswordAuth, clock: FakeClock
) -> None:
    api.expires_in = 1000
    auth.token()
    clock.now_s += 990
    api.answer(TOKEN_PATH, Scripted(400, {"error": "invalid_grant"}))
    auth.token()
    refresh, password = api.sent_to(TOKEN_PATH)[1:]
    assert b"grant_type=refresh_token" in refresh.body
    assert b"grant_type=password" in password.body


def test_threads_that_find_an_old_token_renew_it_once(
    api: ApiServer, auth: PasswordAuth, clock: FakeClock
) -> None:
    api.expires_in = 1000
    auth.token()
    clock.now_s += 990
    start = threading.Barrier(16)

    def ask(_: int) -> str:
        start.wait(10)
        return auth.token()

    with ThreadPoolExecutor(16) as pool:
        tokens = set(pool.map(ask, range(16)))
    assert len(tokens) == 1
    assert grant_types(api) == ["password", "refresh_token"]


def test_threads_whose_token_was_refused_renew_it_once(api: ApiServer, auth: PasswordAuth) -> None:
    refused = auth.token()
    start = threading.Barrier(16)

    def renew(_: int) -> str:
        start.wait(10)
        return auth.renew(refused)

    with ThreadPoolExecutor(16) as pool:
        tokens = set(pool.map(renew, range(16)))
    assert len(tokens) == 1
    assert refused not in tokens
    assert grant_types(api) == ["password", "refresh_token"]


def test_wrong_password_is_said_at_once_without_showing_it(api: ApiServer) -> None:
    with pytest.raises(NotAuthenticatedError) as caught:
        Client(api.url, credentials=UserPassword(EMAIL, "hush"))
    assert "Invalid user credentials" in str(caught.value)
    assert "hush" not in str(caught.value)


def test_broken_token_service_is_no_wrong_password(api: ApiServer) -> None:
    api.answer(TOKEN_PATH, Scripted(502, b"<html>"))
    with pytest.raises(ApiError, match="502"):
        Client(api.url, credentials=UserPassword(EMAIL, "secret"))


def test_token_answer_without_a_token_is_refused(api: ApiServer) -> None:
    api.answer(TOKEN_PATH, Scripted(200, {"hello": "world"}))
    with pytest.raises(ApiError, match="expires_in"):
        Client(api.url, credentials=UserPassword(EMAIL, "secret"))


def test_unreachable_server_is_named() -> None:
    with pytest.raises(ApiError, match=r"http://127\.0\.0\.1:9"):
        Client("http://127.0.0.1:9", credentials=UserPassword("a", "b"))


def test_token_that_was_handed_in_is_sent_and_never_renewed(api: ApiServer) -> None:
    token = jwt.encode({"sub": USER, "email": EMAIL}, "k" * 32, "HS256")
    client = Client(api.url, credentials=BearerToken(token))
    assert client.get_current_workspace().name() == f"{EMAIL} - Default Workspace"
    assert api.grants == []
    api.refused_tokens.add(token)
    with pytest.raises(NotAuthenticatedError, match="cannot fetch another"):
        client.list_workspaces()
    client.close()
