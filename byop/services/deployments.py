"""Deployments: run pipelines, tell how they run, stop them."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from threading import Lock

import structlog

from byop.domain.deployments import Deployment, EngineStatus, RunStatus
from byop.domain.identifiers import (
    DeploymentId,
    PipelineVersionId,
    WorkspaceId,
    require_dns_label,
)
from byop.domain.models import ModelReference, ModelStatus, ModelVersion
from byop.domain.pipelines import ModelStep, Pipeline, PipelineVersion
from byop.domain.users import Principal
from byop.errors import (
    ByopError,
    InvalidInputError,
    InvalidPipelineError,
    ModelVersionNotReadyError,
    NotFoundError,
)
from byop.ports.clock import Clock
from byop.ports.engine import Engine
from byop.ports.metadata import MetadataStore
from byop.services.access import Access
from byop.services.inference_logs import topic_of
from byop.services.launches import Launches
from byop.services.routes import InferenceRoute, RouteTable
from byop.steps.walk import running_model_step
from byop.wire.engine_config import model_key, parse_engine_config

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class DeployRequest:
    """What a deploy call says. ``engine_config`` is JSON as it came.

    ``model_ids`` and ``models`` stand in for the steps of a pipeline version that has none: they
    become those of a new version, which is the one that runs.
    """

    name: str
    pipeline_version_id: int
    pipeline_id: int | None = None
    engine_config: Mapping[str, object] | str | None = None
    model_ids: tuple[int, ...] = ()
    models: tuple[ModelReference, ...] = ()


@dataclass(frozen=True, slots=True)
class DeploymentReport:
    """A deployment and how it runs. ``models`` are in the order of the steps."""

    deployment: Deployment
    pipeline: Pipeline
    version: PipelineVersion
    models: tuple[ModelVersion, ...]
    engine: EngineStatus


class DeploymentService:
    """Use cases on deployments."""

    def __init__(
        self,
        *,
        metadata: MetadataStore,
        engine: Engine,
        launches: Launches,
        routes: RouteTable,
        clock: Clock,
    ) -> None:
        self._metadata = metadata
        self._engine = engine
        self._launches = launches
        self._routes = routes
        self._clock = clock
        self._access = Access(metadata)
        self._changing = Lock()
        self._unrestored: dict[str, tuple[Deployment, str]] = {}

    def deploy(self, principal: Principal, request: DeployRequest) -> Deployment:
        """Begin to run a pipeline version and return its deployment at once.

        Deploying a pipeline that runs replaces what runs, at the same address.

        Raises:
            InvalidNameError: The name is no DNS label.
            NotFoundError: No such pipeline version for this caller, or no such model version.
            InvalidPipelineError: It has no steps and the request names no models.
            ModelVersionNotReadyError: A model version is not ready.
            InvalidDeploymentConfigError: The configuration cannot be read.
        """
        require_dns_label("deployment", request.name)
        pipeline, version = self._pipeline_version(principal, request)
        models = self._models(principal, pipeline.workspace_id, version, request)
        keys = {model_key(model.name, model.id): model.id for model in models}
        config = parse_engine_config(request.engine_config, keys)
        self._launches.make_ready(models)
        with self._changing:
            if not version.steps:
                version = self._version_with_steps(principal, pipeline, models)
            deployment = self._metadata.deployments.add(
                name=request.name,
                pipeline_id=pipeline.id,
                pipeline_version_id=version.id,
                workspace_id=pipeline.workspace_id,
                config=config,
                created_at=self._clock.now(),
            )
            try:
                self._run(deployment, pipeline, version, models)
            except BaseException:
                self._end(deployment)
                raise
        _log.info("deployed", deployment=deployment.address, pipeline=pipeline.name)
        return deployment

    def undeploy(
        self, principal: Principal, *, pipeline_id: int | None, deployment_id: int | None
    ) -> None:
        """Stop a deployment; no error when it does not run.

        Raises:
            InvalidInputError: Neither id is given.
            NotFoundError: No such deployment for this caller.
        """
        deployment = self._find(principal, pipeline_id, deployment_id)
        with self._changing:
            self._end(deployment)
        _log.info("undeployed", deployment=deployment.address)

    def status(self, principal: Principal, address: str) -> DeploymentReport:
        """Return how the deployment at ``{name}-{id}`` runs.

        One that could not be restored is in Error, with the reason in ``details``.

        Raises:
            NotFoundError: No such deployment for this caller, or it does not run.
        """
        self._access.user(principal)
        if address in self._unrestored:
            return self._report_unrestored(principal, address)
        route = self._routes.get(address)
        if route is None or not self._access.may_use(principal, route.workspace_id):
            raise NotFoundError("deployment", address)
        deployment = self._metadata.deployments.get(route.deployment_id)
        engine = self._engine.status(route.deployment_id)
        if deployment is None or engine is None:
            raise NotFoundError("deployment", address)
        pipeline, version = self._stored(deployment)
        return DeploymentReport(
            deployment, pipeline, version, self._models_of(deployment, version), engine
        )

    def inference_path(self, principal: Principal, *, workspace_id: int, pipeline_name: str) -> str:
        """Return the path of the pipeline's inference URL.

        Raises:
            NotFoundError: No such pipeline for this caller, or it was never deployed.
        """
        workspace = self._access.workspace(principal, workspace_id)
        pipeline = self._metadata.pipelines.find(workspace.id, pipeline_name)
        if pipeline is None:
            raise NotFoundError("pipeline", pipeline_name)
        deployment = self._metadata.deployments.find_for_pipeline(pipeline.id)
        if deployment is None or not deployment.is_deployed:
            raise NotFoundError("deployment of pipeline", pipeline_name)
        return f"/v1/api/pipelines/infer/{deployment.address}/{pipeline.name}"

    def restore(self) -> None:
        """Run again what ran when the server stopped. One that cannot run leaves the others be."""
        for deployment in self._metadata.deployments.list_deployed():
            try:
                pipeline, version = self._stored(deployment)
                models = [self._ready(deployment.workspace_id, s.model) for s in version.steps]
                self._run(deployment, pipeline, version, models)
            except (ByopError, OSError) as error:
                self._unrestored[deployment.address] = (deployment, str(error))
                _log.error(
                    "deployment could not be restored",
                    deployment=deployment.address,
                    code=error.code if isinstance(error, ByopError) else type(error).__name__,
                    why=str(error),
                )

    def _run(
        self,
        deployment: Deployment,
        pipeline: Pipeline,
        version: PipelineVersion,
        models: Sequence[ModelVersion],
    ) -> None:
        """Start the models; what ran before goes on answering until they are up."""
        route = InferenceRoute(
            address=deployment.address,
            pipeline_name=pipeline.name,
            pipeline_id=pipeline.id,
            deployment_id=deployment.id,
            workspace_id=deployment.workspace_id,
            topic=topic_of(pipeline.id),
            pipeline_version=version.version,
            steps=tuple(running_model_step(model) for model in models),
        )
        launch = self._launches.prepare(deployment, models)
        self._engine.start(launch, on_in_use=partial(self._routes.put, route))
        if self._routes.get(route.address) is None:  # it was deployed under another name before
            self._routes.put(route)
        self._unrestored.pop(deployment.address, None)

    def _end(self, deployment: Deployment) -> None:
        """Stop what runs; the store first: when it refuses, all goes on as it was."""
        self._metadata.deployments.set_deployed(deployment.id, is_deployed=False)
        self._unrestored.pop(deployment.address, None)
        self._engine.stop(deployment.id)  # before its route goes: it may put one until then
        self._routes.remove(deployment.id)

    def _report_unrestored(self, principal: Principal, address: str) -> DeploymentReport:
        deployment, why = self._unrestored[address]
        if not self._access.may_use(principal, deployment.workspace_id):
            raise NotFoundError("deployment", address)
        pipeline, version = self._stored(deployment)
        return DeploymentReport(
            deployment,
            pipeline,
            version,
            self._models_of(deployment, version),
            EngineStatus(RunStatus.ERROR, (), (why,)),
        )

    def _models_of(
        self, deployment: Deployment, version: PipelineVersion
    ) -> tuple[ModelVersion, ...]:
        """Return the models that are to run, which are not those that do while they are swapped."""
        found = (
            self._metadata.models.find_version(deployment.workspace_id, step.model)
            for step in version.steps
        )
        return tuple(model for model in found if model is not None)

    def _pipeline_version(
        self, principal: Principal, request: DeployRequest
    ) -> tuple[Pipeline, PipelineVersion]:
        version = self._metadata.pipelines.get_version(
            PipelineVersionId(request.pipeline_version_id)
        )
        if version is None or request.pipeline_id not in (None, version.pipeline_id):
            raise NotFoundError("pipeline version", request.pipeline_version_id)
        return self._access.pipeline(principal, version.pipeline_id), version

    def _version_with_steps(
        self, principal: Principal, pipeline: Pipeline, models: Sequence[ModelVersion]
    ) -> PipelineVersion:
        """Store the models that the request named, so that a restart finds them."""
        _, version = self._metadata.pipelines.add_version(
            name=pipeline.name,
            workspace_id=pipeline.workspace_id,
            owner=self._access.user(principal),
            version=str(uuid.uuid4()),
            steps=[ModelStep(_reference(model)) for model in models],
            created_at=self._clock.now(),
        )
        return version

    def _models(
        self,
        principal: Principal,
        workspace_id: WorkspaceId,
        version: PipelineVersion,
        request: DeployRequest,
    ) -> list[ModelVersion]:
        references: list[ModelReference] = [step.model for step in version.steps]
        if not references:
            by_id = [self._access.model_version(principal, i) for i in request.model_ids]
            references = [*map(_reference, by_id), *request.models]
        if not references:
            raise InvalidPipelineError("the pipeline version has no steps and no models were named")
        return [self._ready(workspace_id, reference) for reference in references]

    def _ready(self, workspace_id: WorkspaceId, reference: ModelReference) -> ModelVersion:
        model = self._metadata.models.find_version(workspace_id, reference)
        if model is None:
            raise NotFoundError("model version", f"{reference.name} {reference.version}")
        if model.status is not ModelStatus.READY:
            raise ModelVersionNotReadyError(model.name, model.version, model.status.value)
        return model

    def _find(
        self, principal: Principal, pipeline_id: int | None, deployment_id: int | None
    ) -> Deployment:
        if deployment_id is None and pipeline_id is None:
            raise InvalidInputError("name the deployment: give pipeline_id or deployment_id")
        deployment = None
        if deployment_id is not None:
            deployment = self._metadata.deployments.get(DeploymentId(deployment_id))
        elif pipeline_id is not None:
            pipeline = self._access.pipeline(principal, pipeline_id)
            deployment = self._metadata.deployments.find_for_pipeline(pipeline.id)
        if deployment is None or not self._access.may_use(principal, deployment.workspace_id):
            named = f"of pipeline {pipeline_id}" if deployment_id is None else deployment_id
            raise NotFoundError("deployment", named)
        return deployment

    def _stored(self, deployment: Deployment) -> tuple[Pipeline, PipelineVersion]:
        pipeline = self._metadata.pipelines.get(deployment.pipeline_id)
        version = self._metadata.pipelines.get_version(deployment.pipeline_version_id)
        if pipeline is None or version is None:
            raise NotFoundError("pipeline of deployment", deployment.address)
        return pipeline, version


def _reference(model: ModelVersion) -> ModelReference:
    return ModelReference(name=model.name, version=model.version, sha=model.sha)
