"""Machine-checked limits of the code base that no linter checks."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import byop

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted(path for path in (ROOT / "byop").rglob("*.py") if "templates" not in path.parts)
LONGEST_MODULE = 500
FORBIDDEN_NAMES = {"utils", "helpers", "common", "misc", "base", "core", "manager"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_module_is_at_most_500_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LONGEST_MODULE


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert [path for path in MODULES if path.stem in FORBIDDEN_NAMES] == []


def test_package_initialisers_hold_reexports_only() -> None:
    offenders = []
    for path in MODULES:
        if path.name != "__init__.py" or path == ROOT / "byop" / "__init__.py":
            continue
        body = ast.parse(path.read_text()).body
        allowed = (ast.Expr, ast.ImportFrom, ast.Import, ast.Assign)
        if not all(isinstance(node, allowed) for node in body):
            offenders.append(path)
    assert offenders == []


@pytest.mark.parametrize("name", ["packaging", "providers", "listeners", "examples", "tests"])
def test_folder_is_no_package(name: str) -> None:
    # packaging/__init__.py would hide the PyPI package of that name from builds and tests.
    assert not (ROOT / name / "__init__.py").exists()


def test_importing_byop_loads_nothing_else() -> None:
    code = (
        "import sys; before = set(sys.modules); import byop;"
        "new = {n.partition('.')[0] for n in set(sys.modules) - before};"
        "print(sorted(new - sys.stdlib_module_names - {'byop'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_public_api_is_the_reviewed_list() -> None:
    assert byop.__all__ == [
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


@pytest.mark.parametrize("name", byop.__all__)
def test_public_name_resolves(name: str) -> None:
    assert getattr(byop, name).__name__


def test_unknown_attribute_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        getattr(byop, "nothing")  # noqa: B009 - a type checker refuses the plain form


def test_environment_is_read_in_three_files() -> None:
    allowed = {"byop/settings.py", "byop/sdk/env.py", "byop/client/credentials.py"}
    readers = {
        str(path.relative_to(ROOT))
        for path in MODULES
        if "os.environ" in path.read_text() or "os.getenv" in path.read_text()
    }
    assert readers <= allowed


def test_type_checkers_see_the_same_public_names() -> None:
    stub = ast.parse((ROOT / "byop" / "__init__.pyi").read_text())
    names = [n.names[0].asname for n in stub.body if isinstance(n, ast.ImportFrom)]
    assert sorted(filter(None, names)) == sorted(byop.__all__)
