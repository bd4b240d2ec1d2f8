"""Modules that are served under a name of their own and hold what other modules define."""

import sys
from collections.abc import Callable, Collection, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType


def install_alias(names: Collection[str], fill: Callable[[ModuleType], None], origin: str) -> None:
    """Make ``import`` of ``names`` work in this process, ahead of an installed package.

    ``fill`` puts into a new module what belongs there. Idempotent by ``origin``, which is where
    the modules say that they come from.
    """
    for finder in sys.meta_path:
        if isinstance(finder, _AliasFinder) and finder.origin == origin:
            return
    sys.meta_path.insert(0, _AliasFinder(frozenset(names), fill, origin))


class _AliasFinder:
    """Finder and loader of the modules in ``names``."""

    def __init__(
        self, names: frozenset[str], fill: Callable[[ModuleType], None], origin: str
    ) -> None:
        self.origin = origin
        self._names = names
        self._fill = fill

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """Return the spec of a served module, None for every other name."""
        del path, target
        if fullname not in self._names:
            return None
        is_package = any(name.startswith(f"{fullname}.") for name in self._names)
        # A loader by its methods: importlib asks for no class.
        return ModuleSpec(fullname, self, origin=self.origin, is_package=is_package)  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> None:
        """Leave the making of the module to the import system."""

    def exec_module(self, module: ModuleType) -> None:
        """Put the public names into ``module``."""
        self._fill(module)
