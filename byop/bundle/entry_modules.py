"""Importing a project's top-level modules by their path. Worker code: standard library only."""

import importlib
import importlib.util
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

_PREFIX = "_byop_entry_"


def load_entry_modules(root: Path) -> list[ModuleType]:
    """Import every top-level ``*.py`` of ``root`` once, in order of name, and return them.

    Modules beside them become importable: ``root`` is appended to ``sys.path``, never put first,
    so that a file named ``byop.py`` or ``json.py`` hides nobody's module. Such a file is imported
    under a private name; every other one under its own, so that a sibling that imports it gets
    the same module.
    """
    root = root.resolve()
    if str(root) not in sys.path:
        sys.path.append(str(root))
    importlib.invalidate_caches()
    return [_load_entry(path) for path in sorted(root.glob("*.py"))]


def load_module_at(path: Path) -> ModuleType:
    """Import the source file under a private name; its suffix does not matter."""
    name = _PREFIX + path.stem
    spec = importlib.util.spec_from_loader(name, SourceFileLoader(name, str(path)))
    if spec is None:
        raise ImportError(f"{path.name} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    # dataclasses and pickles look a class's module up by its name
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)  # type: ignore[union-attr]
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _load_entry(path: Path) -> ModuleType:
    if path.stem.isidentifier() and _found_under(path.stem) == path:
        return importlib.import_module(path.stem)
    return load_module_at(path)


def _found_under(name: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(name)
    except ValueError:
        return None
    if spec is None or spec.origin is None or not spec.has_location:
        return None
    return Path(spec.origin).resolve()
