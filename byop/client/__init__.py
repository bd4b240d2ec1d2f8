"""The Python client: upload, deploy, infer, read logs. Never imports the server.

``EntityNotFoundError`` is the documents' name of :class:`byop.errors.NotFoundError`.
"""

from byop.client.client import Client
from byop.client.credentials import BearerToken, UserPassword
from byop.client.deployment_config import DeploymentConfig, DeploymentConfigBuilder
from byop.client.model_version import ModelVersion
from byop.client.pipeline import Pipeline
from byop.client.workspace import Workspace
from byop.domain.models import Framework
from byop.errors import NotFoundError as EntityNotFoundError

__all__ = [
    "BearerToken",
    "Client",
    "DeploymentConfig",
    "DeploymentConfigBuilder",
    "EntityNotFoundError",
    "Framework",
    "ModelVersion",
    "Pipeline",
    "UserPassword",
    "Workspace",
]
