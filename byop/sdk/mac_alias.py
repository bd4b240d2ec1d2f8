"""Serves this package under the names ``mac.*`` that model projects import.

The names are those of the public SDK (reference/wallaroo-sdk.md section 3). The classes are the
same objects, so ``mac.inference.Inference is byop.sdk.Inference``.
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType

_SOURCES: dict[str, str | None] = {
    "mac": None,
    "mac.config": None,
    "mac.config.inference": "byop.sdk.config",
    "mac.exceptions": "byop.sdk.exceptions",
    "mac.inference": "byop.sdk.inference",
    "mac.inference.creation": "byop.sdk.builder",
    "mac.types": "byop.sdk.types",
}


def install() -> None:
    """Make ``import mac`` work in this process, ahead of any installed package of that name."""
    if not any(isinstance(finder, _MacFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _MacFinder())


class _MacFinder:
    """Finder and loader of the modules in ``_SOURCES``."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """Return the spec of a ``mac`` module, None for every other name."""
        del path, target
        if fullname not in _SOURCES:
            return None
        is_package = any(name.startswith(f"{fullname}.") for name in _SOURCES)
        # A loader by its methods: importlib asks for no class.
        return ModuleSpec(fullname, self, origin="byop.sdk", is_package=is_package)  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> None:
        """Leave the making of the module to the import system."""

    def exec_module(self, module: ModuleType) -> None:
        """Put the public names of the source module into ``module``."""
        source_name = _SOURCES[module.__name__]
        if source_name is None:
            return
        source = import_module(source_name)
        for name in source.__all__:
            setattr(module, name, getattr(source, name))
