import pytest

from byop.domain.models import Framework, ModelStatus, Signature, Visibility
from byop.errors import (
    EnvironmentBuildFailedError,
    InvalidArchiveError,
    InvalidInputError,
    InvalidNameError,
    NotFoundError,
    RequirementsConflictError,
    TooLargeError,
)
from tests.services.conftest import MODULE, TEXT, World, zipped


@pytest.fixture
def workspace_id(world: World) -> int:
    return world.workspaces.create(world.admin, "w").id


def test_upload_is_pending_at_once_and_ready_after_conversion(
    world: World, workspace_id: int
) -> None:
    version = world.upload(world.admin, workspace_id)
    assert version.status is ModelStatus.PENDING_LOAD_CONTAINER
    ready = world.converted(world.admin, version)
    assert ready.status is ModelStatus.READY
    assert ready.environment_key is not None
    assert ready.sha == version.sha
    assert world.environments.asked == [(Framework.CUSTOM, ("lib==1",))]


def test_second_upload_under_a_name_is_a_new_version_of_the_model(
    world: World, workspace_id: int
) -> None:
    first = world.upload(world.admin, workspace_id)
    second = world.upload(world.admin, workspace_id)
    assert first.model_id == second.model_id
    assert first.id != second.id
    assert first.version != second.version


def test_same_bytes_are_kept_once(world: World, workspace_id: int) -> None:
    world.upload(world.admin, workspace_id, "shout")
    world.upload(world.admin, workspace_id, "measure")
    blobs = [path for path in world.blobs_root.rglob("*") if path.is_file()]
    assert len(blobs) == 1


def test_missing_requirements_end_in_error_with_the_documented_summary(
    world: World, workspace_id: int
) -> None:
    version = world.upload(world.admin, workspace_id, data=zipped({"upper.py": MODULE}))
    failed = world.converted(world.admin, version)
    assert failed.status is ModelStatus.ERROR
    assert failed.error_summary == (
        "Framework.CUSTOM requires a requirements.txt to be included within the uploaded .zip file"
    )


@pytest.mark.parametrize(
    "problem",
    [
        RequirementsConflictError("numpy==1.0 does not fit beside numpy>=1.26"),
        EnvironmentBuildFailedError("the installer failed", "last line of the log"),
    ],
)
def test_failed_environment_is_told_in_the_summary(
    world: World, workspace_id: int, problem: RequirementsConflictError
) -> None:
    world.environments.problem = problem
    failed = world.converted(world.admin, world.upload(world.admin, workspace_id))
    assert failed.status is ModelStatus.ERROR
    assert failed.error_summary == problem.message


def test_native_model_is_loaded_once_and_tells_its_schemas(world: World, workspace_id: int) -> None:
    world.engine.signatures["shout"] = Signature(TEXT, TEXT)
    version = world.upload(
        world.admin,
        workspace_id,
        framework=Framework.ONNX,
        file_name="m.onnx",
        data=b"onnx bytes",
        signature=Signature(),
    )
    assert version.status is ModelStatus.PENDING_LOAD_NATIVE
    ready = world.converted(world.admin, version)
    assert ready.status is ModelStatus.READY
    assert ready.signature == Signature(TEXT, TEXT)


def test_native_model_that_does_not_load_ends_in_error(world: World, workspace_id: int) -> None:
    version = world.upload(
        world.admin,
        workspace_id,
        "unknown",
        framework=Framework.ONNX,
        file_name="m.onnx",
        data=b"garbage",
        signature=Signature(),
    )
    failed = world.converted(world.admin, version)
    assert failed.status is ModelStatus.ERROR
    assert failed.error_summary == "model 'unknown': there is no such function"


def test_other_python_version_is_a_warning(world: World, workspace_id: int) -> None:
    version = world.upload(world.admin, workspace_id, python_version="3.8")
    ready = world.converted(world.admin, version)
    assert ready.status is ModelStatus.READY
    assert len(ready.warnings) == 1
    assert "python_version 3.8" in ready.warnings[0]


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"no zip at all", InvalidArchiveError),
        (b"", InvalidInputError),
        (b"x" * (1 << 20) + b"x", TooLargeError),
    ],
)
def test_refused_file_leaves_nothing(
    world: World, workspace_id: int, data: bytes, error: type[Exception]
) -> None:
    with pytest.raises(error):
        world.upload(world.admin, workspace_id, data=data)
    assert [path for path in world.blobs_root.rglob("*") if path.is_file()] == []
    assert world.workspaces.require(world.admin, workspace_id).model_ids == ()


def test_upload_needs_a_label_and_a_workspace_of_the_caller(
    world: World, workspace_id: int
) -> None:
    with pytest.raises(InvalidNameError):
        world.upload(world.admin, workspace_id, "No_Label")
    with pytest.raises(NotFoundError):
        world.upload(world.new_user("b@example.com"), workspace_id)


def test_private_version_is_not_found_for_others_and_a_public_one_is(
    world: World, workspace_id: int
) -> None:
    other = world.new_user("b@example.com")
    private = world.upload(world.admin, workspace_id, "shout")
    public = world.upload(world.admin, workspace_id, "measure", visibility=Visibility.PUBLIC)
    with pytest.raises(NotFoundError):
        world.models.get_version(other, private.id)
    assert world.models.get_version(other, public.id).id == public.id


def test_unfinished_conversion_is_taken_up_again(world: World, workspace_id: int) -> None:
    version = world.converted(world.admin, world.upload(world.admin, workspace_id))
    world.metadata.models.set_status(
        version.id, ModelStatus.ATTEMPTING_LOAD_CONTAINER, updated_at=version.updated_at
    )
    world.conversions.resume()
    assert world.converted(world.admin, version).status is ModelStatus.READY
