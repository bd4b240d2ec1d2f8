import pytest

from byop.domain.users import Principal
from byop.errors import AlreadyExistsError, InvalidNameError, NotAllowedError, NotFoundError
from tests.services.conftest import World


def test_user_has_a_workspace_of_their_own(world: World) -> None:
    user = world.new_user("a@example.com")
    names = [workspace.name for workspace in world.workspaces.list_visible(user)]
    assert names == ["a@example.com - Default Workspace"]


def test_created_workspace_is_listed_for_its_owner_and_the_administrator(world: World) -> None:
    user = world.new_user("a@example.com")
    made = world.workspaces.create(user, "mine")
    assert made in world.workspaces.list_visible(user)
    assert made in world.workspaces.list_visible(world.admin)
    assert made not in world.workspaces.list_visible(world.new_user("b@example.com"))


def test_administrator_lists_the_workspaces_of_one_user(world: World) -> None:
    user = world.new_user("a@example.com")
    assert user.user_id is not None
    listed = world.workspaces.list_visible(world.admin, user.user_id)
    assert [workspace.created_by for workspace in listed] == [user.user_id]


def test_user_lists_nobody_elses_workspaces(world: World) -> None:
    user = world.new_user("a@example.com")
    assert world.workspaces.list_visible(user, world.admin.user_id) == []


def test_names_are_dns_labels_and_unique(world: World) -> None:
    world.workspaces.create(world.admin, "taken")
    with pytest.raises(AlreadyExistsError):
        world.workspaces.create(world.admin, "taken")
    with pytest.raises(InvalidNameError):
        world.workspaces.create(world.admin, "No Label")


def test_another_users_workspace_is_not_found(world: World) -> None:
    made = world.workspaces.create(world.admin, "private")
    with pytest.raises(NotFoundError):
        world.workspaces.require(world.new_user("b@example.com"), made.id)
    assert world.workspaces.require(world.admin, made.id) == made


def test_program_may_not_use_workspaces(world: World) -> None:
    program = Principal(user_id=None, client_id="api-client")
    with pytest.raises(NotAllowedError):
        world.workspaces.list_visible(program)
    with pytest.raises(NotAllowedError):
        world.workspaces.create(program, "x")
