from byop.client import Client as Client
from byop.client import DeploymentConfigBuilder as DeploymentConfigBuilder
from byop.client import EntityNotFoundError as EntityNotFoundError
from byop.domain.models import Framework as Framework
from byop.errors import ByopError as ByopError
from byop.sdk import AsyncInference as AsyncInference
from byop.sdk import CustomInferenceConfig as CustomInferenceConfig
from byop.sdk import Inference as Inference
from byop.sdk import InferenceBuilder as InferenceBuilder
from byop.sdk import InferenceData as InferenceData

__all__ = [
    "AsyncInference",
    "ByopError",
    "Client",
    "CustomInferenceConfig",
    "DeploymentConfigBuilder",
    "EntityNotFoundError",
    "Framework",
    "Inference",
    "InferenceBuilder",
    "InferenceData",
]

__version__: str
