from dataclasses import replace

import pytest

from byop.domain.identifiers import (
    DeploymentId,
    ModelVersionId,
    PipelineId,
    UserId,
    WorkspaceId,
)
from byop.domain.models import Signature
from byop.services.inference import Memberships
from byop.services.routes import InferenceRoute, RouteTable
from byop.steps.walk import RunningModelStep

ROUTE = InferenceRoute(
    address="p-1",
    pipeline_name="p",
    pipeline_id=PipelineId(1),
    deployment_id=DeploymentId(1),
    workspace_id=WorkspaceId(1),
    topic="pipeline-1",
    pipeline_version="v1",
    steps=(RunningModelStep(ModelVersionId(1), "m", Signature(), "{}"),),
)


def test_route_is_found_at_its_address() -> None:
    table = RouteTable()
    table.put(ROUTE)
    assert table.get("p-1") is ROUTE
    assert table.get("p-2") is None


def test_deploying_again_under_another_name_moves_the_route() -> None:
    table = RouteTable()
    table.put(ROUTE)
    moved = replace(ROUTE, address="q-1")
    table.put(moved)
    assert table.get("p-1") is None
    assert table.get("q-1") is moved


def test_removed_route_is_gone_and_the_others_stay() -> None:
    table = RouteTable()
    other = replace(ROUTE, address="o-2", deployment_id=DeploymentId(2))
    table.put(ROUTE)
    table.put(other)
    table.remove(DeploymentId(1))
    assert table.get("p-1") is None
    assert table.get("o-2") is other


@pytest.mark.parametrize("answer", [True, False])
def test_membership_is_asked_once_in_five_seconds(answer: bool) -> None:
    asked: list[tuple[int, str]] = []
    now = [100.0]

    def is_member(workspace: WorkspaceId, user: UserId) -> bool:
        asked.append((workspace, user))
        return answer

    memberships = Memberships(is_member, clock_s=lambda: now[0])
    pair = (WorkspaceId(1), UserId("u"))
    assert (pair in memberships) is answer
    assert (pair in memberships) is answer
    assert asked == [pair]
    now[0] += 5.0
    assert (pair in memberships) is answer
    assert asked == [pair, pair]


def test_membership_is_remembered_until_it_must_be_asked_again() -> None:
    now = [100.0]
    memberships = Memberships(lambda _workspace, _user: True, clock_s=lambda: now[0])
    pair = (WorkspaceId(1), UserId("u"))
    assert not memberships.remembers(pair)
    assert pair in memberships
    assert memberships.remembers(pair)
    now[0] += 5.0
    assert not memberships.remembers(pair)
