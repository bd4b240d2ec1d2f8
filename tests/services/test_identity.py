from dataclasses import replace

import pytest

from byop.domain.identifiers import UserId
from byop.domain.users import API_CLIENT, SDK_CLIENT, Principal
from byop.errors import AlreadyExistsError, NotAllowedError, NotAuthenticatedError
from byop.services.identity import make_up_credentials
from tests.services.conftest import World


def test_first_user_logs_in_by_email_in_any_case(world: World) -> None:
    user = world.identity.log_in("Admin@Example.com", "admin-password")
    assert user.is_admin


@pytest.mark.parametrize(
    ("login", "password"),
    [("admin@example.com", "wrong"), ("nobody@example.com", "admin-password"), ("", "")],
)
def test_wrong_login_does_not_say_what_is_wrong(world: World, login: str, password: str) -> None:
    with pytest.raises(NotAuthenticatedError, match="user name or password is wrong"):
        world.identity.log_in(login, password)


def test_password_hash_is_no_password(world: World) -> None:
    user = world.identity.log_in("admin@example.com", "admin-password")
    assert user.password_hash.startswith("$argon2id$")
    with pytest.raises(NotAuthenticatedError):
        world.identity.log_in("admin@example.com", user.password_hash)


def test_setting_up_again_changes_nothing(world: World) -> None:
    assert world.identity.is_set_up()
    world.identity.set_up(make_up_credentials("admin@example.com", "another"))
    world.identity.log_in("admin@example.com", "admin-password")
    assert len(world.identity.list_users(world.admin)) == 1


def test_setting_up_after_a_crash_gives_the_user_the_missing_workspace(world: World) -> None:
    user = world.identity.log_in("admin@example.com", "admin-password")
    world.metadata.users.add(
        replace(user, id=UserId("half"), email="half@example.com", username="half@example.com")
    )
    world.identity.set_up(make_up_credentials("half@example.com", "pw"))
    own = world.metadata.workspaces.list_all(member=UserId("half"))
    assert [workspace.name for workspace in own] == ["half@example.com - Default Workspace"]


def test_client_needs_its_secret_and_the_sdk_none(world: World) -> None:
    world.identity.create_client("batch", "s3cret")
    assert world.identity.authenticate_client("batch", "s3cret") == "batch"
    assert world.identity.authenticate_client(SDK_CLIENT, None) == SDK_CLIENT
    for client_id, secret in [("batch", "no"), ("batch", None), (API_CLIENT, ""), ("x", "s3cret")]:
        with pytest.raises(NotAuthenticatedError):
            world.identity.authenticate_client(client_id, secret)


def test_client_secret_is_stored_sealed(world: World) -> None:
    world.identity.create_client("batch", "canary-client-secret")
    kept = world.metadata.users.get_client("batch")
    assert kept is not None
    assert b"canary-client-secret" not in kept[1]


def test_names_are_taken_once(world: World) -> None:
    world.new_user("a@example.com")
    with pytest.raises(AlreadyExistsError):
        world.new_user("A@example.com")
    with pytest.raises(AlreadyExistsError):
        world.identity.create_client(SDK_CLIENT, "s")


def test_program_may_not_list_users(world: World) -> None:
    with pytest.raises(NotAllowedError):
        world.identity.list_users(Principal(user_id=None, client_id=API_CLIENT))


def test_credentials_do_not_show_their_secrets() -> None:
    made = make_up_credentials("a@b.c", "")
    assert made.password not in repr(made)
    assert made.client_secret not in repr(made)
