"""What holds for every provider and listener: they are portable."""

import ast
import sys
from pathlib import Path

import pytest

from byop.bundle.archive import pack
from byop.bundle.manifest import read_manifest
from byop.bundle.validation import validate_archive
from byop.domain.models import Framework

ROOT = Path(__file__).resolve().parents[2]
PROJECTS = sorted(
    path.parent
    for kind in ("providers", "listeners")
    for path in (ROOT / kind).glob("*/model.toml")
)
IMPORTS_OF_REQUIREMENTS = {"openai": "openai"}


def imported_roots(path: Path) -> set[str]:
    roots: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            roots |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            roots.add((node.module or "").partition(".")[0])
    return roots


def required_imports(project: Path) -> set[str]:
    lines = [
        line.partition("#")[0].strip()
        for line in (project / "requirements.txt").read_text().splitlines()
    ]
    names = [line.partition(">")[0].partition("=")[0] for line in lines if line]
    return {IMPORTS_OF_REQUIREMENTS[name] for name in names}


def test_there_are_projects() -> None:
    assert {"openai_chat", "toxicity"} <= {project.name for project in PROJECTS}


@pytest.mark.parametrize("project", PROJECTS, ids=lambda path: path.name)
def test_project_imports_only_mac_numpy_and_its_requirements(project: Path) -> None:
    manifest = read_manifest((project / "model.toml").read_text())
    modules = [*project.rglob("*.py"), *(project / path for path in manifest.bundle_include)]
    own = {path.stem for path in modules}
    allowed = {"mac", "numpy"} | sys.stdlib_module_names | own | required_imports(project)
    for module in modules:
        assert imported_roots(module) - allowed == set(), module.name


@pytest.mark.parametrize("project", PROJECTS, ids=lambda path: path.name)
def test_project_packs_and_validates(project: Path, tmp_path: Path) -> None:
    packed = pack(project, tmp_path / "project.zip")
    report = validate_archive(packed.path, Framework.CUSTOM)
    assert report.warnings == ()
    assert report.manifest is not None
    assert report.manifest.inputs is not None
    assert report.manifest.outputs is not None
