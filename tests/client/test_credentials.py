import json
from pathlib import Path

import pytest

from byop.client.credentials import BearerToken, UserPassword, read_connection
from byop.errors import InvalidInputError, NotAuthenticatedError, SettingsInvalidError


def write(path: Path, content: object) -> str:
    path.write_text(json.dumps(content))
    return str(path)


def test_user_and_password_come_from_the_environment(tmp_path: Path) -> None:
    file = write(tmp_path / "creds.json", {"username": "file", "password": "other"})
    connection = read_connection(
        environ={
            "WALLAROO_URL": "https://api.example.com/",
            "WALLAROO_AUTH_URL": "https://keycloak.example.com",
            "WALLAROO_REQUEST_TIMEOUT": "90",
            "WALLAROO_USER": "ada",
            "WALLAROO_PASSWORD": "pw",
            "WALLAROO_SDK_CREDENTIALS": file,
        }
    )
    assert connection.api_endpoint == "https://api.example.com"
    assert connection.auth_endpoint == "https://keycloak.example.com"
    assert connection.request_timeout_s == 90.0
    assert connection.credentials == UserPassword("ada", "pw")


def test_arguments_win_over_the_environment() -> None:
    connection = read_connection(
        api_endpoint="http://one:1",
        auth_endpoint="http://two:2",
        request_timeout=3,
        credentials=UserPassword("bob", "x"),
        environ={"WALLAROO_URL": "http://no", "WALLAROO_AUTH_URL": "http://no"},
    )
    assert (connection.api_endpoint, connection.auth_endpoint) == ("http://one:1", "http://two:2")
    assert connection.request_timeout_s == 3.0
    assert connection.credentials == UserPassword("bob", "x")


def test_auth_endpoint_is_the_api_endpoint_by_default() -> None:
    connection = read_connection(
        api_endpoint="http://one:1", environ={"WALLAROO_USER": "a", "WALLAROO_PASSWORD": "b"}
    )
    assert connection.auth_endpoint == "http://one:1"


def test_credentials_file_of_the_documents_is_read(tmp_path: Path) -> None:
    content = {
        "username": "john.hansarick@example.com",
        "password": "pw",
        "email": "john.hansarick@example.com",
        "confidentialClient": "api-client",
        "confidentialPassword": "s",
    }
    file = write(tmp_path / "creds.json", content)
    connection = read_connection(
        auth_type="user_password", environ={"WALLAROO_SDK_CREDENTIALS": file}
    )
    assert connection.credentials == UserPassword("john.hansarick@example.com", "pw")


@pytest.mark.parametrize("auth_type", [None, "token"])
def test_token_file_is_read(tmp_path: Path, auth_type: str | None) -> None:
    file = write(tmp_path / "t.json", {"token": "abc", "user_email": "a@b.c", "user_id": "1"})
    connection = read_connection(auth_type=auth_type, environ={"WALLAROO_SDK_CREDENTIALS": file})
    assert connection.credentials == BearerToken("abc", "a@b.c", "1")


def test_file_that_was_handed_in_wins_over_the_environment(tmp_path: Path) -> None:
    path = tmp_path / "given.json"
    write(path, {"username": "given", "password": "pw"})
    environ = {"WALLAROO_USER": "env", "WALLAROO_PASSWORD": "x", "WALLAROO_SDK_CREDENTIALS": "/no"}
    connection = read_connection(credentials_file=path, environ=environ)
    assert connection.credentials == UserPassword("given", "pw")


def test_local_server_s_first_credentials_are_found(tmp_path: Path) -> None:
    content = {"username": "admin@byop.local", "password": "made", "confidentialClient": "x"}
    write(tmp_path / "initial-credentials.json", content)
    environ = {"BYOP_HOME": str(tmp_path)}
    for endpoint in (None, "http://localhost:9000", "http://[::1]:9000"):
        connection = read_connection(api_endpoint=endpoint, environ=environ)
        assert connection.credentials == UserPassword("admin@byop.local", "made")


def test_local_server_s_credentials_are_not_sent_elsewhere(tmp_path: Path) -> None:
    write(tmp_path / "initial-credentials.json", {"username": "a", "password": "b"})
    with pytest.raises(NotAuthenticatedError, match="WALLAROO_USER"):
        read_connection(
            api_endpoint="https://api.example.com", environ={"BYOP_HOME": str(tmp_path)}
        )


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({"WALLAROO_REQUEST_TIMEOUT": "soon"}, "'soon' is no number of seconds"),
        ({"WALLAROO_REQUEST_TIMEOUT": "inf"}, "WALLAROO_REQUEST_TIMEOUT"),
        ({"WALLAROO_SDK_AUTH_TYPE": "sso"}, "'sso' is none of user_password, token"),
        ({"WALLAROO_SDK_CREDENTIALS": "/nowhere/creds.json"}, "No such file"),
        ({"WALLAROO_SDK_AUTH_TYPE": "token"}, "WALLAROO_SDK_CREDENTIALS"),
    ],
)
def test_unreadable_variable_is_named(environ: dict[str, str], told: str) -> None:
    with pytest.raises(SettingsInvalidError, match=told):
        read_connection(environ=environ)


@pytest.mark.parametrize("content", [["x"], {"username": "a"}, {"password": "hush"}, {}])
def test_incomplete_credentials_file_is_refused_without_its_secret(
    tmp_path: Path, content: object
) -> None:
    file = write(tmp_path / "creds.json", content)
    with pytest.raises(SettingsInvalidError) as caught:
        read_connection(environ={"WALLAROO_SDK_CREDENTIALS": file})
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("endpoint", ["127.0.0.1:8080", "ftp://x", "http://"])
def test_endpoint_that_is_no_http_address_is_refused(endpoint: str) -> None:
    with pytest.raises(InvalidInputError, match="no http or https address"):
        read_connection(api_endpoint=endpoint, environ={})


@pytest.mark.parametrize("auth_type", ["sso", "none", "orch"])
def test_unsupported_auth_type_is_refused(auth_type: str) -> None:
    with pytest.raises(InvalidInputError, match="use user_password or token"):
        read_connection(auth_type=auth_type, environ={})


def test_secrets_do_not_show_in_a_repr() -> None:
    assert "hush" not in repr([UserPassword("a", "hush"), BearerToken("hush")])
