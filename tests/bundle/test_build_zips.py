import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

from byop.bundle.scaffolding import ProjectKind, new_project
from tests.bundle.sources import FILES, write_folder

SCRIPT = Path(__file__).resolve().parents[2] / "packaging" / "build_zips.py"


@pytest.fixture
def build_zips() -> ModuleType:
    spec = spec_from_file_location("build_zips", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_project_of_this_repository_packs(
    build_zips: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    projects = build_zips.project_folders(SCRIPT.parents[1])
    assert build_zips.build(SCRIPT.parents[1], tmp_path) == 0
    assert sorted(path.stem for path in tmp_path.glob("*.zip")) == sorted(p.name for p in projects)
    assert capsys.readouterr().out.count("sha256") == len(projects)


def test_projects_are_told_from_shared_code(build_zips: ModuleType, tmp_path: Path) -> None:
    new_project(ProjectKind.PROVIDER, "one", tmp_path / "providers" / "one")
    new_project(ProjectKind.TASK, "two", tmp_path / "listeners" / "two")
    write_folder(tmp_path / "listeners" / "shared", {"linear.py": ""})
    found = [path.name for path in build_zips.project_folders(tmp_path)]
    assert found == ["two", "one"]


def test_project_that_cannot_be_packed_is_named_and_counted(
    build_zips: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = '[model]\nname = "m"\n'
    write_folder(tmp_path / "providers" / "good", FILES | {"model.toml": manifest})
    write_folder(tmp_path / "providers" / "bad", {"model.toml": manifest})
    assert build_zips.build(tmp_path, tmp_path / "dist") == 1
    assert [path.name for path in (tmp_path / "dist").iterdir()] == ["good.zip"]
    assert "providers/bad: Framework.CUSTOM requires" in capsys.readouterr().err


def test_script_runs(tmp_path: Path) -> None:
    for name in ("packaging/build_zips.py",):
        write_folder(tmp_path, {name: SCRIPT.read_bytes()})
    new_project(ProjectKind.MODEL, "m", tmp_path / "providers" / "m")
    script = tmp_path / "packaging" / "build_zips.py"
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "dist" / "m.zip").is_file()
