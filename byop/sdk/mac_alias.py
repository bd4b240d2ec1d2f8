"""Serves this package under the names ``mac.*`` that model projects import.

The names are those of the public SDK (reference/wallaroo-sdk.md section 3). The classes are the
same objects, so ``mac.inference.Inference is byop.sdk.Inference``.
"""

from importlib import import_module
from types import ModuleType

from byop.sdk.aliases import install_alias

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
    install_alias(_SOURCES, _fill, "byop.sdk")


def _fill(module: ModuleType) -> None:
    """Put the public names of the source module into ``module``."""
    source_name = _SOURCES[module.__name__]
    if source_name is None:
        return
    source = import_module(source_name)
    for name in source.__all__:
        setattr(module, name, getattr(source, name))
