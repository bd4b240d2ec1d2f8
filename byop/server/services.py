"""What the server serves: the use cases, wired by ``byop.bootstrap``."""

from dataclasses import dataclass

from byop.services.deployments import DeploymentService
from byop.services.identity import IdentityService
from byop.services.inference import InferenceService
from byop.services.inference_logs import InferenceLogService
from byop.services.models import ModelService
from byop.services.pipelines import PipelineService
from byop.services.tokens import TokenService
from byop.services.workspaces import WorkspaceService


@dataclass(frozen=True, slots=True)
class Services:
    """Every use case that a route calls."""

    identity: IdentityService
    tokens: TokenService
    workspaces: WorkspaceService
    models: ModelService
    pipelines: PipelineService
    deployments: DeploymentService
    inference: InferenceService
    inference_logs: InferenceLogService
