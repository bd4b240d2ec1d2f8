"""Pipelines and their deployments (seed 001, "Pipeline Management")."""

from fastapi import APIRouter

from byop.server.auth import Caller, Wired
from byop.services.deployments import DeployRequest
from byop.wire.answers import DeploymentCreated, PipelineCreated
from byop.wire.definitions import parse_definition, parse_model
from byop.wire.shapes import CreatePipeline, DeployPipeline, Empty, UndeployPipeline

router = APIRouter(prefix="/v1/api/pipelines", tags=["pipelines"])


@router.post("/create", summary="Create a pipeline, or a new version of one")
def create_pipeline(caller: Caller, services: Wired, body: CreatePipeline) -> PipelineCreated:
    """Store the steps as a new version of the pipeline of that name."""
    pipeline, version = services.pipelines.create(
        caller,
        name=body.pipeline_id,
        workspace_id=body.workspace_id,
        steps=parse_definition(body.definition),
    )
    return PipelineCreated(
        pipeline_pk_id=pipeline.id,
        pipeline_variant_pk_id=version.id,
        pipeline_variant_version=version.version,
    )


@router.post("/deploy", summary="Deploy a pipeline version")
def deploy_pipeline(caller: Caller, services: Wired, body: DeployPipeline) -> DeploymentCreated:
    """Begin to run the version; ``status/get_deployment`` tells how it goes."""
    models = enumerate(body.models or ())
    deployment = services.deployments.deploy(
        caller,
        DeployRequest(
            name=body.deploy_id,
            pipeline_version_id=body.pipeline_version_pk_id,
            pipeline_id=body.pipeline_id,
            engine_config=body.engine_config,
            model_ids=tuple(body.model_ids or body.model_configs or ()),
            models=tuple(parse_model(model, f"models[{index}]") for index, model in models),
        ),
    )
    return DeploymentCreated(id=deployment.id)


@router.post("/undeploy", summary="Undeploy a pipeline")
def undeploy_pipeline(caller: Caller, services: Wired, body: UndeployPipeline) -> Empty:
    """Stop the deployment; its status is 404 from then on."""
    services.deployments.undeploy(
        caller, pipeline_id=body.pipeline_id, deployment_id=body.deployment_id
    )
    return Empty()
