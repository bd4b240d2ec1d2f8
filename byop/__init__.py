"""byop: a self-hosted LLM gateway and model server.

Importing this package loads nothing: each public name is imported when it is first used.
"""

from importlib import import_module

_HOME_OF = {
    "Client": "byop.client",
    "DeploymentConfigBuilder": "byop.client",
    "EntityNotFoundError": "byop.client",
    "Framework": "byop.domain.models",
    "AsyncInference": "byop.sdk",
    "CustomInferenceConfig": "byop.sdk",
    "Inference": "byop.sdk",
    "InferenceBuilder": "byop.sdk",
    "InferenceData": "byop.sdk",
    "ByopError": "byop.errors",
}

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

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """Import the module that holds ``name`` and return it."""
    if name not in _HOME_OF:
        raise AttributeError(f"module 'byop' has no attribute {name!r}")
    return getattr(import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
