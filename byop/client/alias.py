"""Serves this package under the names ``wallaroo.*`` that the documents import.

The modules are those of the public SDK (reference/wallaroo-sdk.md section 1; the seeds' import
lines). The classes are the same objects, so ``wallaroo.Client is byop.client.Client``.
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType

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
    if not any(isinstance(finder, _WallarooFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _WallarooFinder())


class _WallarooFinder:
    """Finder and loader of the modules in ``_NAMES``."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """Return the spec of a ``wallaroo`` module, None for every other name."""
        del path, target
        if fullname not in _NAMES:
            return None
        # A loader by its methods: importlib asks for no class.
        return ModuleSpec(fullname, self, origin="byop.client", is_package=fullname == "wallaroo")  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> None:
        """Leave the making of the module to the import system."""

    def exec_module(self, module: ModuleType) -> None:
        """Put the public names into ``module``; the package also gets its submodules.

        Documents write ``wallaroo.framework.Framework`` after a bare ``import wallaroo``.
        """
        for name, source in _NAMES[module.__name__].items():
            setattr(module, name, getattr(import_module(source), name))
        if module.__name__ == "wallaroo":
            for submodule in _NAMES.keys() - {"wallaroo"}:
                import_module(submodule)
