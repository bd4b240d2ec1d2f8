"""How deployments run and where they answer.

Source: seed 001, "Get Deployment Status" and "Get External Inference URL". One process walks the
pipelines here, so there is one engine and one load balancer: ourselves.
"""

import re

from fastapi import APIRouter, Request

from byop.domain.deployments import RunStatus
from byop.domain.models import Framework, ModelVersion
from byop.errors import InvalidInputError
from byop.server.auth import Caller, Configured, Wired
from byop.services.deployments import DeploymentReport
from byop.settings import Settings
from byop.wire.answers import (
    DeploymentStatus,
    EngineState,
    ExternalUrl,
    ModelState,
    ModelStates,
    PipelineState,
    PipelineStates,
    ProcessState,
    SidekickState,
)
from byop.wire.shapes import GetDeployment, GetExternalUrl

router = APIRouter(prefix="/v1/api", tags=["deployments"])

_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:[0-9]{1,5})?")
_IP = "127.0.0.1"


@router.post("/status/get_deployment", summary="Ask how a deployment runs")
def get_deployment(caller: Caller, services: Wired, body: GetDeployment) -> DeploymentStatus:
    """Return the state of the deployment ``{deploy_id}-{id}``; 404 when it does not run."""
    return _status(services.deployments.status(caller, body.name))


@router.post("/admin/get_pipeline_external_url", summary="Ask for a pipeline's inference URL")
def get_external_url(
    request: Request,
    caller: Caller,
    services: Wired,
    settings: Configured,
    body: GetExternalUrl,
) -> ExternalUrl:
    """Return the absolute URL that takes the pipeline's inferences."""
    path = services.deployments.inference_path(
        caller, workspace_id=body.workspace_id, pipeline_name=body.pipeline_name
    )
    return ExternalUrl(url=f"{_origin(request, settings)}{path}")


def _origin(request: Request, settings: Settings) -> str:
    """Return the public URL that was set, else the one that this request came to."""
    if settings.public_url:
        return settings.public_url.rstrip("/")
    host = request.headers.get("host", "")
    if not _HOST.fullmatch(host):
        raise InvalidInputError("the Host header is missing or no host name")
    return f"{request.url.scheme}://{host}"


def _status(report: DeploymentReport) -> DeploymentStatus:
    engine = report.engine
    address = report.deployment.address
    return DeploymentStatus(
        status=engine.status.value,
        details=list(engine.details),
        engines=[
            EngineState(
                ip=_IP,
                name=f"engine-{address}",
                status=engine.status.value,
                reason=engine.details[0] if engine.details else None,
                details=list(engine.details),
                isolation=engine.isolation,
                pipeline_statuses=PipelineStates(pipelines=[_pipeline_state(report)]),
                model_statuses=ModelStates(
                    models=[_model_state(model, report) for model in report.models]
                ),
            )
        ],
        engine_lbs=[
            ProcessState(
                ip=_IP,
                name=f"engine-lb-{address}",
                status=RunStatus.RUNNING.value,
                reason=None,
                details=[],
            )
        ],
        sidekicks=_sidekicks(report),
    )


def _pipeline_state(report: DeploymentReport) -> PipelineState:
    return PipelineState(
        id=report.pipeline.name,
        status=report.engine.status.value,
        version=report.version.version,
    )


def _model_state(model: ModelVersion, report: DeploymentReport) -> ModelState:
    """Return the model's state: Running when a replica runs, else its first replica's."""
    states = [r.status for r in report.engine.replicas if r.model_version_id == model.id]
    first = states[0] if states else report.engine.status
    return _model(model, RunStatus.RUNNING if RunStatus.RUNNING in states else first)


def _model(model: ModelVersion, status: RunStatus) -> ModelState:
    return ModelState(
        model_version_id=model.id,
        name=model.name,
        version=model.version,
        sha=model.sha,
        status=status.value,
    )


def _sidekicks(report: DeploymentReport) -> list[SidekickState]:
    """Return the replicas of models with an environment of their own.

    Native models run in processes too, but the seeds show no sidekick for them.
    """
    models = {m.id: m for m in report.models if m.conversion.framework is Framework.CUSTOM}
    return [
        SidekickState(
            ip=_IP,
            name=replica.name,
            status=replica.status.value,
            reason=replica.reason,
            details=[] if replica.last_end is None else [f"last end: {replica.last_end}"],
            statuses=ModelStates(models=[_model(models[replica.model_version_id], replica.status)]),
            restarts=replica.restarts,
        )
        for replica in report.engine.replicas
        if replica.model_version_id in models
    ]
