"""Serves this package under the names ``wallaroo.*`` that the documents import.

The modules are those of the public SDK (reference/wallaroo-sdk.md section 1; the seeds' import
lines). The classes are the same objects, so ``wallaroo.Client is byop.client.Client``.
"""

from importlib import import_module
from types import ModuleType

from byop.sdk.aliases import install_alias

_NAMES: dict[str, dict[str, str]] = {
    "wallaroo": {
        "Client": "byop.client.client",
        "DeploymentConfigBuilder": "byop.client.deployment_config",
        "__version__": "byop",
    },
    "wallaroo.client": {"Client": "byop.client.client"},
    "wallaroo.deployment_config": {
        "DeploymentConfig": "byop.client.deployment_config",
        "DeploymentConfigBuilder": "byop.client.deployment_config",
    },
    "wallaroo.framework": {"Framework": "byop.domain.models"},
    "wallaroo.model_version": {"ModelVersion": "byop.client.model_version"},
    "wallaroo.object": {"EntityNotFoundError": "byop.client"},
    "wallaroo.pipeline": {"Pipeline": "byop.client.pipeline"},
    "wallaroo.workspace": {"Workspace": "byop.client.workspace"},
}


def install() -> None:
    """Make ``import wallaroo`` work in this process, ahead of an installed package."""
    install_alias(_NAMES, _fill, "byop.client")


def _fill(module: ModuleType) -> None:
    """Put the public names into ``module``; the package also gets its submodules.

    Documents write ``wallaroo.framework.Framework`` after a bare ``import wallaroo``.
    """
    for name, source in _NAMES[module.__name__].items():
        setattr(module, name, getattr(import_module(source), name))
    if module.__name__ == "wallaroo":
        for submodule in _NAMES.keys() - {"wallaroo"}:
            import_module(submodule)
