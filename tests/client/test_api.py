import pytest

from byop.client import Client
from byop.errors import (
    ApiError,
    ColumnMissingError,
    EnvironmentBuildFailedError,
    InvalidArchiveError,
    ModelFailedError,
    ModelTimeoutError,
    NotAuthenticatedError,
    NotFoundError,
    OverloadedError,
)
from byop.wire.errors import problem_body
from tests.fakes.api_server import ApiServer, Scripted, problem

LIST = "/v1/api/workspaces/list"


def test_refused_token_is_renewed_and_the_call_sent_again(api: ApiServer, client: Client) -> None:
    first = client.auth.token()
    api.refused_tokens.add(first)
    assert len(client.list_workspaces()) == 1
    sent = [request.headers["authorization"] for request in api.sent_to(LIST)]
    assert sent == [f"Bearer {first}", f"Bearer {client.auth.token()}"]
    assert api.sent_to(LIST)[0].body == api.sent_to(LIST)[1].body


def test_call_that_is_refused_twice_is_not_sent_a_third_time(
    api: ApiServer, client: Client
) -> None:
    refusal = Scripted(401, problem("not_authenticated", "token is not valid", 401))
    api.answer(LIST, refusal, refusal)
    with pytest.raises(NotAuthenticatedError, match="token is not valid"):
        client.list_workspaces()
    assert len(api.sent_to(LIST)) == 2


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ColumnMissingError("text", ["prompt"]), 400),
        (InvalidArchiveError(), 400),
        (ModelFailedError("llm", "ValueError: no"), 500),
        (ModelTimeoutError("llm", 15.0), 504),
        (OverloadedError("model 'llm'", 128), 429),
        (NotFoundError("pipeline", "x"), 404),
        (EnvironmentBuildFailedError("uv failed", "no wheel"), 400),
    ],
)
def test_error_comes_back_as_its_class_with_its_facts(
    api: ApiServer, client: Client, error: Exception, status: int
) -> None:
    api.answer(LIST, Scripted(status, problem_body(error, status, "engine")))  # type: ignore[arg-type] # all are ByopErrors
    with pytest.raises(type(error)) as caught:
        client.list_workspaces()
    assert type(caught.value) is type(error)
    assert str(caught.value) == str(error)
    assert vars(caught.value) == vars(error)


def test_error_of_another_server_keeps_its_message(api: ApiServer, client: Client) -> None:
    api.answer(LIST, Scripted(400, {"msg": "no such thing", "code": 400}))
    with pytest.raises(ApiError, match="no such thing"):
        client.list_workspaces()


@pytest.mark.parametrize("body", [b"<html>oops</html>", b"", b"[1]", b"\xff"])
def test_error_that_is_no_json_tells_its_status(
    api: ApiServer, client: Client, body: bytes
) -> None:
    api.answer(LIST, Scripted(502, body))
    with pytest.raises(ApiError, match="502"):
        client.list_workspaces()


@pytest.mark.parametrize(
    "body", [b"<html>", b'{"workspaces": 3}', b'{"workspaces": [{"id": "x"}]}']
)
def test_answer_of_something_that_is_no_byop_server_is_refused(
    api: ApiServer, client: Client, body: bytes
) -> None:
    api.answer(LIST, Scripted(200, body))
    with pytest.raises(ApiError, match="byop server"):
        client.list_workspaces()


def test_netrc_does_not_replace_the_token(
    api: ApiServer,
    client: Client,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    netrc = tmp_path_factory.mktemp("home") / "netrc"
    netrc.write_text("machine 127.0.0.1 login eve password other\n")
    monkeypatch.setenv("NETRC", str(netrc))
    client.list_workspaces()
    assert api.sent_to(LIST)[0].headers["authorization"].startswith("Bearer ")
