import shutil
import sqlite3

import numpy as np
import pyarrow as pa
import pytest

from byop.domain.deployments import RunStatus
from byop.domain.models import ModelReference, ModelStatus, ModelVersion, Signature
from byop.domain.pipelines import ModelStep, PipelineVersion
from byop.domain.users import Principal
from byop.errors import (
    ByopError,
    EnvironmentBuildFailedError,
    InvalidDeploymentConfigError,
    InvalidInputError,
    InvalidPipelineError,
    ModelFailedError,
    ModelInputRejectedError,
    ModelLoadFailedError,
    ModelVersionNotReadyError,
    NotFoundError,
)
from byop.ports.inference_log import PageStatus
from byop.services.deployments import DeployRequest
from byop.services.inference_logs import LogRequest
from byop.wire.engine_config import model_key
from tests.fakes.engine import Arrays
from tests.services.conftest import TEXT, World, zipped

LENGTH = pa.schema([pa.field("length", pa.int64())])
PROGRAM = Principal(user_id=None, client_id="api-client")


class Scene:
    """A workspace with two ready models: shout (text -> text) and measure (text -> length)."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.admin = world.admin
        self.workspace_id = world.workspaces.create(world.admin, "w").id
        self.shout = self.ready("shout", Signature(TEXT, TEXT))
        self.measure = self.ready("measure", Signature(TEXT, LENGTH))

    def ready(self, name: str, signature: Signature) -> ModelVersion:
        uploaded = self.world.upload(self.admin, self.workspace_id, name, signature=signature)
        return self.world.converted(self.admin, uploaded)

    def pipeline(self, *models: ModelVersion, name: str = "p") -> PipelineVersion:
        steps = [ModelStep(ModelReference(m.name, m.version, m.sha)) for m in models]
        return self.world.pipelines.create(
            self.admin, name=name, workspace_id=self.workspace_id, steps=steps
        )[1]


@pytest.fixture
def scene(world: World) -> Scene:
    return Scene(world)


def test_deployed_pipeline_chains_its_models_and_logs_the_inference(scene: Scene) -> None:
    import asyncio  # noqa: PLC0415 - this test alone runs a loop by hand

    world = scene.world
    version = scene.pipeline(scene.shout, scene.measure)
    deployment = world.deployments.deploy(scene.admin, DeployRequest("p", version.id))
    route = world.inference.route(scene.admin, f"p-{deployment.id}", "p")
    assert route.inputs == TEXT
    batch = pa.RecordBatch.from_pydict({"text": ["a", "bcd"]})
    record = asyncio.run(world.inference.infer(route, batch, parse_ns=7))
    assert record.outputs.to_pydict() == {"length": [1, 3]}
    assert record.metadata.elapsed_ns[0] == 7
    assert len(record.metadata.elapsed_ns) == 3
    assert record.metadata.partition == world.log.partition
    assert record.metadata.last_model == (
        f'{{"model_name":"measure","model_sha":"{scene.measure.sha}"}}'
    )
    page = world.inference_logs.page(scene.admin, LogRequest("p", scene.workspace_id))
    assert page.status is PageStatus.ALL
    assert sum(logged.rows for logged in page.records) == 2


def test_status_tells_models_and_replicas_until_undeployed(scene: Scene) -> None:
    world = scene.world
    deployment = world.deployments.deploy(
        scene.admin, DeployRequest("p", scene.pipeline(scene.shout).id)
    )
    report = world.deployments.status(scene.admin, f"p-{deployment.id}")
    assert report.engine.status is RunStatus.RUNNING
    assert [model.name for model in report.models] == ["shout"]
    world.deployments.undeploy(scene.admin, pipeline_id=None, deployment_id=deployment.id)
    with pytest.raises(NotFoundError):
        world.deployments.status(scene.admin, f"p-{deployment.id}")
    with pytest.raises(NotFoundError):
        world.inference.route(scene.admin, f"p-{deployment.id}", "p")
    world.deployments.undeploy(scene.admin, pipeline_id=None, deployment_id=deployment.id)


def test_deploying_again_keeps_the_address(scene: Scene) -> None:
    world = scene.world
    first = world.deployments.deploy(
        scene.admin, DeployRequest("p", scene.pipeline(scene.shout).id)
    )
    second = world.deployments.deploy(
        scene.admin, DeployRequest("p", scene.pipeline(scene.measure).id)
    )
    assert first.id == second.id
    route = world.inference.route(scene.admin, f"p-{first.id}", "p")
    assert [step.model_name for step in route.steps] == ["measure"]


def test_credentials_reach_the_model_they_are_for_and_no_other(scene: Scene) -> None:
    world = scene.world
    key = model_key(scene.shout.name, scene.shout.id)
    image = {"env": [{"name": "KEY", "value": "canary"}], "resources": {"limits": {"cpu": 2}}}
    config = {"engine": {"replicas": 2}, "engineAux": {"images": {key: image}}}
    version = scene.pipeline(scene.shout, scene.measure)
    world.deployments.deploy(scene.admin, DeployRequest("p", version.id, engine_config=config))
    launch = world.engine.starts[-1]
    assert launch.replica_count == 2
    shout, measure = launch.models
    assert dict(shout.resources.environment) == {"KEY": "canary"}
    assert shout.resources.cpus == 2
    assert dict(measure.resources.environment) == {}
    assert "canary" not in repr(launch)


def test_restart_runs_again_what_was_deployed_with_its_credentials(scene: Scene) -> None:
    world = scene.world
    key = model_key(scene.shout.name, scene.shout.id)
    config = {"engineAux": {"images": {key: {"env": [{"name": "KEY", "value": "canary"}]}}}}
    stopped = world.deployments.deploy(
        scene.admin, DeployRequest("q", scene.pipeline(scene.measure, name="q").id)
    )
    world.deployments.undeploy(scene.admin, pipeline_id=None, deployment_id=stopped.id)
    version = scene.pipeline(scene.shout)
    world.deployments.deploy(scene.admin, DeployRequest("p", version.id, engine_config=config))
    world.engine.starts.clear()
    world.deployments.restore()
    assert [launch.name.split("-")[0] for launch in world.engine.starts] == ["p"]
    assert dict(world.engine.starts[0].models[0].resources.environment) == {"KEY": "canary"}


def test_deployment_that_cannot_be_restored_is_in_error_until_it_is_changed(
    scene: Scene,
) -> None:
    world = scene.world
    version = scene.pipeline(scene.shout)
    deployment = world.deployments.deploy(scene.admin, DeployRequest("p", version.id))
    world.metadata.models.set_status(
        scene.shout.id, ModelStatus.ERROR, updated_at=scene.shout.updated_at
    )
    world.routes.remove(deployment.id)
    world.deployments.restore()
    report = world.deployments.status(scene.admin, deployment.address)
    assert report.engine.status is RunStatus.ERROR
    assert "only ready versions" in report.engine.details[0]
    assert [model.name for model in report.models] == ["shout"]
    with pytest.raises(NotFoundError):
        world.deployments.status(world.new_user("b@example.com"), deployment.address)
    world.deployments.undeploy(scene.admin, pipeline_id=None, deployment_id=deployment.id)
    with pytest.raises(NotFoundError):
        world.deployments.status(scene.admin, deployment.address)


def test_models_stand_in_for_steps(scene: Scene) -> None:
    version = scene.pipeline()
    by_id = DeployRequest("p", version.id, model_ids=(scene.shout.id,))
    scene.world.deployments.deploy(scene.admin, by_id)
    assert [m.name for m in scene.world.engine.starts[-1].models] == ["shout"]


@pytest.mark.parametrize(
    "config", ["{", {"replica_count": 0}, {"engineAux": {"images": {"x": {}}}}]
)
def test_wrong_configuration_changes_nothing(scene: Scene, config: dict[str, object] | str) -> None:
    version = scene.pipeline(scene.shout)
    request = DeployRequest("p", version.id, engine_config=config)
    with pytest.raises(InvalidDeploymentConfigError):
        scene.world.deployments.deploy(scene.admin, request)
    assert scene.world.engine.starts == []
    assert scene.world.metadata.deployments.list_deployed() == []


def test_pipeline_without_steps_or_models_is_refused(scene: Scene) -> None:
    with pytest.raises(InvalidPipelineError):
        scene.world.deployments.deploy(scene.admin, DeployRequest("p", scene.pipeline().id))


def test_version_that_failed_conversion_is_refused(scene: Scene) -> None:
    data = zipped({"no_class.py": "", "requirements.txt": ""})
    broken = scene.world.upload(scene.admin, scene.workspace_id, "broken", data=data)
    scene.world.converted(scene.admin, broken)
    with pytest.raises(ModelVersionNotReadyError, match="is error"):
        scene.world.deployments.deploy(scene.admin, DeployRequest("p", scene.pipeline(broken).id))


def test_step_with_an_unknown_model_is_refused(scene: Scene) -> None:
    step = ModelStep(ModelReference("shout", "no-such-version", scene.shout.sha))
    with pytest.raises(NotFoundError):
        scene.world.pipelines.create(
            scene.admin, name="p", workspace_id=scene.workspace_id, steps=[step]
        )


def test_others_do_not_find_the_deployment_and_a_program_infers(scene: Scene) -> None:
    world = scene.world
    version = scene.pipeline(scene.shout)
    deployment = world.deployments.deploy(scene.admin, DeployRequest("p", version.id))
    other = world.new_user("b@example.com")
    address = f"p-{deployment.id}"
    for ask in (
        lambda: world.deployments.status(other, address),
        lambda: world.deployments.deploy(other, DeployRequest("p", version.id)),
        lambda: world.deployments.undeploy(other, pipeline_id=None, deployment_id=deployment.id),
        lambda: world.deployments.inference_path(
            other, workspace_id=scene.workspace_id, pipeline_name="p"
        ),
        lambda: world.inference.route(other, address, "p"),
        lambda: world.inference_logs.page(other, LogRequest("p", scene.workspace_id)),
    ):
        with pytest.raises(NotFoundError):
            ask()
    assert world.inference.route(PROGRAM, address, "p").pipeline_name == "p"
    with pytest.raises(NotFoundError):
        world.inference.route(PROGRAM, address, "another-pipeline")


def test_route_of_a_member_is_known_once_asked_and_that_of_others_at_once(scene: Scene) -> None:
    world = scene.world
    deployment = world.deployments.deploy(
        scene.admin, DeployRequest("p", scene.pipeline(scene.shout).id)
    )
    other = world.new_user("b@example.com")
    assert world.inference.knows(scene.admin, deployment.address)
    assert world.inference.knows(PROGRAM, deployment.address)
    assert world.inference.knows(other, "nowhere-1")
    assert not world.inference.knows(other, deployment.address)
    with pytest.raises(NotFoundError):
        world.inference.route(other, deployment.address, "p")
    assert world.inference.knows(other, deployment.address)


def test_inference_path_is_there_while_deployed(scene: Scene) -> None:
    world = scene.world
    where = {"workspace_id": scene.workspace_id, "pipeline_name": "p"}
    version = scene.pipeline(scene.shout)
    with pytest.raises(NotFoundError):
        world.deployments.inference_path(scene.admin, **where)  # type: ignore[arg-type]  # mixed
    deployment = world.deployments.deploy(scene.admin, DeployRequest("p", version.id))
    path = world.deployments.inference_path(scene.admin, **where)  # type: ignore[arg-type]  # mixed
    assert path == f"/v1/api/pipelines/infer/p-{deployment.id}/p"


def test_redeploy_whose_environment_cannot_be_built_leaves_what_runs(scene: Scene) -> None:
    world = scene.world
    version = scene.pipeline(scene.shout)
    deployment = world.deployments.deploy(scene.admin, DeployRequest("p", version.id))
    world.environments.delete_all()
    world.environments.problem = EnvironmentBuildFailedError("no wheel", "")
    with pytest.raises(EnvironmentBuildFailedError):
        world.deployments.deploy(scene.admin, DeployRequest("other-name", version.id))
    kept = world.metadata.deployments.get(deployment.id)
    assert kept is not None
    assert kept.name == "p"
    report = world.deployments.status(scene.admin, deployment.address)
    assert report.engine.status is RunStatus.RUNNING


def test_deployment_that_the_engine_refuses_is_not_deployed(scene: Scene) -> None:
    world = scene.world
    version = scene.pipeline(scene.shout)
    world.engine.problem = ModelLoadFailedError("shout", "no process can be started")
    with pytest.raises(ModelLoadFailedError):
        world.deployments.deploy(scene.admin, DeployRequest("p", version.id))
    assert world.metadata.deployments.list_deployed() == []
    with pytest.raises(NotFoundError):
        world.deployments.inference_path(
            scene.admin, workspace_id=scene.workspace_id, pipeline_name="p"
        )


def test_undeploy_that_cannot_be_stored_leaves_what_runs(scene: Scene) -> None:
    world = scene.world
    version = scene.pipeline(scene.shout)
    deployment = world.deployments.deploy(scene.admin, DeployRequest("p", version.id))
    with sqlite3.connect(world.blobs_root.parent / "metadata.sqlite3") as database:
        database.execute(
            "CREATE TRIGGER refuse BEFORE UPDATE ON deployments"
            " BEGIN SELECT RAISE(ABORT, 'refused'); END"
        )
    database.close()
    with pytest.raises(ByopError):
        world.deployments.undeploy(scene.admin, pipeline_id=None, deployment_id=deployment.id)
    report = world.deployments.status(scene.admin, deployment.address)
    assert report.engine.status is RunStatus.RUNNING
    assert world.engine.stops == []


def test_undeploy_that_names_nothing_is_refused(scene: Scene) -> None:
    with pytest.raises(InvalidInputError, match="pipeline_id or deployment_id"):
        scene.world.deployments.undeploy(scene.admin, pipeline_id=None, deployment_id=None)


def test_disk_trouble_of_a_deployment_does_not_keep_the_server_from_starting(scene: Scene) -> None:
    world = scene.world
    world.deployments.deploy(scene.admin, DeployRequest("p", scene.pipeline(scene.shout).id))
    models = world.blobs_root.parent / "models"
    shutil.rmtree(models)
    models.write_text("in the way of the folder")
    world.deployments.restore()
    assert len(world.engine.starts) == 1


async def test_step_that_lacks_a_column_of_the_one_before_fails_by_name(scene: Scene) -> None:
    world = scene.world
    version = scene.pipeline(scene.measure, scene.shout)
    deployment = world.deployments.deploy(scene.admin, DeployRequest("p", version.id))
    route = world.inference.route(scene.admin, f"p-{deployment.id}", "p")
    batch = pa.RecordBatch.from_pydict({"text": ["a"]})
    with pytest.raises(ModelInputRejectedError, match="needs column 'text'"):
        await world.inference.infer(route, batch, parse_ns=0)


async def test_failed_inference_is_not_logged(scene: Scene) -> None:
    world = scene.world

    def broken(_inputs: Arrays) -> Arrays:
        return {"text": np.array([1 // 0])}

    world.engine.models["shout"] = broken
    deployment = world.deployments.deploy(
        scene.admin, DeployRequest("p", scene.pipeline(scene.shout).id)
    )
    route = world.inference.route(scene.admin, f"p-{deployment.id}", "p")
    with pytest.raises(ModelFailedError, match="ZeroDivisionError"):
        await world.inference.infer(route, pa.RecordBatch.from_pydict({"text": ["a"]}), parse_ns=0)
    page = world.inference_logs.page(scene.admin, LogRequest("p", scene.workspace_id))
    assert page.records == []


@pytest.mark.parametrize(
    "change", [{"start_ms": 1}, {"end_ms": 1}, {"page_size": 0}, {"page_size": 10_001}]
)
def test_log_request_out_of_bounds_is_refused(scene: Scene, change: dict[str, int]) -> None:
    scene.pipeline(scene.shout)
    request = LogRequest("p", scene.workspace_id, **change)  # type: ignore[arg-type]  # numbers
    with pytest.raises(InvalidInputError):
        scene.world.inference_logs.page(scene.admin, request)
