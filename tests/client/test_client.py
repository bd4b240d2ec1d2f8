from typing import Any

import pytest

import byop
from byop.client import BearerToken, Client, EntityNotFoundError
from byop.errors import NotFoundError
from tests.fakes.api_server import EMAIL, ApiServer, workspace


def test_workspace_is_found_by_name(client: Client) -> None:
    client.create_workspace("one")
    two = client.create_workspace("two")
    assert client.get_workspace("two") == two
    assert (two.id(), two.name(), two.archived()) == (3, "two", False)
    assert two.created_at().utcoffset() is not None
    assert [w.name() for w in client.list_workspaces()][1:] == ["one", "two"]


def test_missing_workspace_is_an_entity_not_found(client: Client) -> None:
    with pytest.raises(EntityNotFoundError, match="'nowhere'"):
        client.get_workspace("nowhere")


def test_missing_workspace_is_made_on_request_once(api: ApiServer, client: Client) -> None:
    made = client.get_workspace("new", create_if_not_exist=True)
    assert client.get_workspace("new", create_if_not_exist=True) == made
    assert len(api.sent_to("/v1/api/workspaces/create")) == 1


def test_entity_not_found_and_not_found_are_one_class() -> None:
    assert EntityNotFoundError is NotFoundError
    assert byop.EntityNotFoundError is NotFoundError


def test_current_workspace_is_the_user_s_default_until_it_is_set(
    api: ApiServer, client: Client
) -> None:
    api.workspaces.insert(0, workspace(8, "first", owner="someone else"))
    api.workspaces.insert(0, workspace(9, "mine"))
    assert client.get_current_workspace().name() == f"{EMAIL} - Default Workspace"
    other = client.get_workspace("first")
    assert client.set_current_workspace(other) is other
    assert client.get_current_workspace() is other


def test_current_workspace_falls_back_to_the_oldest_of_the_user(
    api: ApiServer, client: Client
) -> None:
    api.workspaces[:] = [workspace(1, "theirs", owner="x"), workspace(2, "mine")]
    assert client.get_current_workspace().name() == "mine"


def test_user_without_a_workspace_is_told_so(api: ApiServer, client: Client) -> None:
    api.workspaces.clear()
    with pytest.raises(NotFoundError, match="Default Workspace"):
        client.get_current_workspace()


def test_environment_alone_connects(api: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WALLAROO_URL", api.url)
    monkeypatch.setenv("WALLAROO_USER", EMAIL)
    monkeypatch.setenv("WALLAROO_PASSWORD", "secret")
    client = Client()
    assert client.api_endpoint == api.url
    assert len(client.list_workspaces()) == 1
    client.close()


def test_endpoints_go_by_position_as_in_the_documents(api: ApiServer) -> None:
    client = Client(api.url, api.url, "token", 3.0, credentials=BearerToken("t"))
    assert client.api_endpoint == api.url


def test_objects_show_as_tables_without_asking_the_server(api: ApiServer, client: Client) -> None:
    api.workspaces.append(workspace(4, "<b>bold</b>"))
    objects: list[Any] = [client, client.get_workspace("<b>bold</b>"), client.build_pipeline("p")]
    asked = len(api.received)
    html = "".join(thing._repr_html_() for thing in objects)
    assert len(api.received) == asked
    assert html.count("<table>") == 3
    assert "&lt;b&gt;bold" in html
    assert "<b>bold" not in html
