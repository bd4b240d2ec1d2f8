"""What every metadata store must do; ``stores`` names them."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from byop.domain.deployments import DeploymentConfig, ModelResources
from byop.domain.identifiers import (
    DeploymentId,
    ModelVersionId,
    PipelineId,
    PipelineVersionId,
    UserId,
    WorkspaceId,
)
from byop.domain.models import ModelReference, ModelStatus, Signature, Visibility
from byop.domain.pipelines import ModelStep
from byop.domain.users import ConfidentialClient
from byop.errors import AlreadyExistsError, NotFoundError
from byop.ports.metadata import MetadataStore
from byop.store.metadata import SqlMetadataStore
from byop.store.secrets import AesGcmSecretBox
from tests.store.metadata_filling import (
    ADA,
    CLIENT,
    SEALED_CLIENT_SECRET,
    SIGNATURE,
    VARIABLES,
    add_model,
    at,
    config_for,
    fill,
    reference,
)

OpenStore = Callable[[Path], MetadataStore]


def _open_sqlite(folder: Path) -> MetadataStore:
    return SqlMetadataStore(
        f"sqlite:///{folder / 'metadata.sqlite3'}", secrets=AesGcmSecretBox(bytes(32))
    )


@pytest.fixture(params=[_open_sqlite], ids=["sqlite"])
def open_store(request: pytest.FixtureRequest) -> OpenStore:
    opener: OpenStore = request.param
    return opener


@pytest.fixture
def store(open_store: OpenStore, tmp_path: Path) -> Iterator[MetadataStore]:
    opened = open_store(tmp_path)
    yield opened
    opened.close()


def test_everything_is_there_after_reopening(open_store: OpenStore, tmp_path: Path) -> None:
    first = open_store(tmp_path)
    filled = fill(first)
    first.close()
    store = open_store(tmp_path)
    assert store.users.get(ADA.id) == ADA
    assert store.users.get_client("api-client") == (CLIENT, SEALED_CLIENT_SECRET)
    assert store.models.get_version(filled.model.id) == filled.model
    assert store.pipelines.get(filled.pipeline.id) == filled.pipeline
    assert store.pipelines.get_version(filled.pipeline_version.id) == filled.pipeline_version
    assert store.deployments.get(filled.deployment.id) == filled.deployment
    workspace = replace(
        filled.workspace,
        model_ids=(filled.model.model_id,),
        pipeline_ids=(filled.pipeline.id,),
    )
    assert store.workspaces.get(filled.workspace.id) == workspace
    store.close()


def test_reading_what_is_absent_gives_none(store: MetadataStore) -> None:
    assert store.users.get(UserId("nobody")) is None
    assert store.users.find("nobody@example.com") is None
    assert store.users.get_client("none") is None
    assert store.workspaces.get(WorkspaceId(9)) is None
    assert not store.workspaces.is_member(WorkspaceId(9), ADA.id)
    assert store.models.get_version(ModelVersionId(9)) is None
    assert store.models.find_version(WorkspaceId(9), ModelReference("a", "b", "c")) is None
    assert store.pipelines.get(PipelineId(9)) is None
    assert store.pipelines.find(WorkspaceId(9), "main") is None
    assert store.pipelines.get_version(PipelineVersionId(9)) is None
    assert store.deployments.get(DeploymentId(9)) is None
    assert store.deployments.find_for_pipeline(PipelineId(9)) is None


@pytest.mark.parametrize("login", ["ada@example.com", "ADA@EXAMPLE.COM", "Ada", "ada"])
def test_user_is_found_by_email_or_username_in_any_case(store: MetadataStore, login: str) -> None:
    store.users.add(ADA)
    assert store.users.find(login) == ADA


def test_email_wins_over_the_same_username_of_another_user(store: MetadataStore) -> None:
    impostor = replace(
        ADA, id=UserId("2"), email="eve@example.com", username="ada@example.com", created_at=at(-9)
    )
    store.users.add(impostor)
    store.users.add(ADA)
    assert store.users.find("ada@example.com") == ADA


def test_email_is_taken_in_any_case(store: MetadataStore) -> None:
    store.users.add(ADA)
    with pytest.raises(AlreadyExistsError, match="ADA@example"):
        store.users.add(replace(ADA, id=UserId("2"), email="ADA@example.COM"))
    assert store.users.list_all() == [ADA]


def test_client_id_is_taken_once(store: MetadataStore) -> None:
    store.users.add_client(CLIENT, sealed_secret=b"a")
    other = ConfidentialClient(CLIENT.client_id, UserId("else"), at(1))
    with pytest.raises(AlreadyExistsError):
        store.users.add_client(other, sealed_secret=b"b")
    assert store.users.get_client(CLIENT.client_id) == (CLIENT, b"a")


def test_listings_are_ordered_by_creation_then_id(store: MetadataStore) -> None:
    late, early = replace(ADA, created_at=at(5)), replace(ADA, id=UserId("b"), email="b@b")
    tied = replace(ADA, id=UserId("a"), email="a@a")
    for user in (late, early, tied):
        store.users.add(user)
    assert [user.id for user in store.users.list_all()] == ["a", "b", ADA.id]


def test_workspace_name_is_taken_once(store: MetadataStore) -> None:
    fill(store)
    with pytest.raises(AlreadyExistsError, match="'team'"):
        store.workspaces.add("team", owner=ADA.id, created_at=at(9))
    assert len(store.workspaces.list_all()) == 1


def test_workspace_of_an_unknown_owner_is_refused_whole(store: MetadataStore) -> None:
    with pytest.raises(NotFoundError):
        store.workspaces.add("team", owner=UserId("nobody"), created_at=at(0))
    assert store.workspaces.list_all() == []


def test_members_see_their_workspaces_only(store: MetadataStore) -> None:
    bob = replace(ADA, id=UserId("bob"), email="bob@example.com")
    mine = fill(store).workspace
    store.users.add(bob)
    his = store.workspaces.add("bobs", owner=bob.id, created_at=at(0))
    assert [one.id for one in store.workspaces.list_all(member=bob.id)] == [his.id]
    assert [one.id for one in store.workspaces.list_all()] == [his.id, mine.id]
    assert store.workspaces.is_member(his.id, bob.id)
    assert not store.workspaces.is_member(mine.id, bob.id)


def test_second_version_of_a_name_joins_the_same_model(store: MetadataStore) -> None:
    filled = fill(store)
    second = add_model(store, filled.workspace.id, "v2", minute=7)
    assert second.model_id == filled.model.model_id
    assert second.id != filled.model.id
    workspace = store.workspaces.get(filled.workspace.id)
    assert workspace is not None
    assert workspace.model_ids == (second.model_id,)


def test_same_model_name_in_another_workspace_is_another_model(store: MetadataStore) -> None:
    filled = fill(store)
    other = store.workspaces.add("other", owner=ADA.id, created_at=at(5))
    assert add_model(store, other.id, "v2").model_id != filled.model.model_id


def test_version_is_found_only_when_name_version_and_sha_agree(store: MetadataStore) -> None:
    filled = fill(store)
    right = reference(filled.model)
    assert store.models.find_version(filled.workspace.id, right) == filled.model
    for wrong in (
        replace(right, name="other"),
        replace(right, version="other"),
        replace(right, sha="cd" * 32),
    ):
        assert store.models.find_version(filled.workspace.id, wrong) is None


def test_private_version_stays_in_its_workspace_and_a_public_one_is_found_elsewhere(
    store: MetadataStore,
) -> None:
    filled = fill(store)
    other = store.workspaces.add("other", owner=ADA.id, created_at=at(5))
    public = add_model(store, filled.workspace.id, "v2", visibility=Visibility.PUBLIC)
    assert store.models.find_version(other.id, reference(filled.model)) is None
    assert store.models.find_version(other.id, reference(public)) == public


def test_status_change_keeps_the_facts_it_does_not_name(store: MetadataStore) -> None:
    model = fill(store).model
    store.models.set_status(
        model.id,
        ModelStatus.ERROR,
        updated_at=at(8),
        error_summary="broken",
        warnings=["old python"],
        environment_key="abc",
    )
    store.models.set_status(model.id, ModelStatus.READY, updated_at=at(9))
    assert store.models.get_version(model.id) == replace(
        model,
        status=ModelStatus.READY,
        updated_at=at(9),
        error_summary="broken",
        warnings=("old python",),
        environment_key="abc",
    )


def test_status_change_can_tell_the_signature(store: MetadataStore) -> None:
    filled = fill(store)
    told = Signature(inputs=SIGNATURE.outputs, outputs=None)
    store.models.set_status(filled.model.id, ModelStatus.READY, updated_at=at(9), signature=told)
    found = store.models.get_version(filled.model.id)
    assert found is not None
    assert found.signature == told


def test_status_of_an_unknown_version_cannot_be_set(store: MetadataStore) -> None:
    with pytest.raises(NotFoundError):
        store.models.set_status(ModelVersionId(9), ModelStatus.READY, updated_at=at(0))


def test_unfinished_versions_are_those_whose_status_is_not_final(store: MetadataStore) -> None:
    workspace = fill(store).workspace
    for status in ModelStatus:
        add_model(store, workspace.id, f"v-{status}", status=status)
    unfinished = [version.status for version in store.models.list_unfinished()]
    assert unfinished == [status for status in ModelStatus if not status.is_final]


def test_second_version_of_a_pipeline_keeps_its_id_and_marks_it_updated(
    store: MetadataStore,
) -> None:
    filled = fill(store)
    again, version = store.pipelines.add_version(
        name="main",
        workspace_id=filled.workspace.id,
        owner=ADA.id,
        version="v2",
        steps=[],
        created_at=at(9),
    )
    assert again == replace(filled.pipeline, updated_at=at(9))
    assert version.steps == ()
    assert version.id != filled.pipeline_version.id
    assert store.pipelines.find(filled.workspace.id, "main") == again


def test_steps_keep_their_order(store: MetadataStore) -> None:
    filled = fill(store)
    steps = [ModelStep(ModelReference(name, "v", "s")) for name in "zab"]
    _, version = store.pipelines.add_version(
        name="ordered",
        workspace_id=filled.workspace.id,
        owner=ADA.id,
        version="v3",
        steps=steps,
        created_at=at(9),
    )
    kept = store.pipelines.get_version(version.id)
    assert kept is not None
    assert list(kept.steps) == steps


def test_pipeline_of_an_unknown_workspace_is_refused(store: MetadataStore) -> None:
    store.users.add(ADA)
    with pytest.raises(NotFoundError):
        store.pipelines.add_version(
            name="main",
            workspace_id=WorkspaceId(77),
            owner=ADA.id,
            version="v",
            steps=[],
            created_at=at(0),
        )


def test_deploying_again_keeps_the_id_and_replaces_the_configuration(store: MetadataStore) -> None:
    filled = fill(store)
    config = DeploymentConfig(engine=ModelResources(cpus=3.0), raw="{}")
    again = store.deployments.add(
        name="renamed",
        pipeline_id=filled.pipeline.id,
        pipeline_version_id=filled.pipeline_version.id,
        workspace_id=filled.workspace.id,
        config=config,
        created_at=at(9),
    )
    assert again == replace(filled.deployment, name="renamed", config=config)
    assert store.deployments.find_for_pipeline(filled.pipeline.id) == again


def test_undeploying_erases_the_environment_values_and_keeps_the_rest(
    store: MetadataStore,
) -> None:
    filled = fill(store)
    store.deployments.set_deployed(filled.deployment.id, is_deployed=False)
    found = store.deployments.get(filled.deployment.id)
    assert found is not None
    assert not found.is_deployed
    resources = found.config.models[filled.model.id]
    assert dict(resources.environment) == {}
    assert resources.memory_bytes == 5 << 30
    assert store.deployments.list_deployed() == []


def test_deployed_ones_are_listed_with_their_environment(store: MetadataStore) -> None:
    filled = fill(store)
    (found,) = store.deployments.list_deployed()
    assert found == filled.deployment
    assert dict(found.config.models[filled.model.id].environment) == VARIABLES


def test_unknown_deployment_cannot_be_switched(store: MetadataStore) -> None:
    with pytest.raises(NotFoundError):
        store.deployments.set_deployed(DeploymentId(9), is_deployed=True)


def test_deployment_that_names_an_unknown_model_is_refused_whole(store: MetadataStore) -> None:
    filled = fill(store)
    unknown = replace(filled.model, id=ModelVersionId(99))
    with pytest.raises(NotFoundError):
        store.deployments.add(
            name="other",
            pipeline_id=filled.pipeline.id,
            pipeline_version_id=filled.pipeline_version.id,
            workspace_id=filled.workspace.id,
            config=config_for(unknown),
            created_at=at(9),
        )
    assert store.deployments.get(filled.deployment.id) == filled.deployment
