import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from byop.domain.models import Framework
from byop.engine.environments import BUILD_LOG, LOCK, VirtualEnvironments
from byop.errors import (
    EnvironmentBuildFailedError,
    InvalidBundleError,
    RequirementsConflictError,
)
from byop.ports.environments import ModelEnvironment
from byop.settings import Installer, installer_environment
from tests.engine.conftest import Bench, Models
from tests.fakes.wheels import make_wheel

CACHE = Path(__file__).resolve().parents[2] / ".cache" / "environments"


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    """A folder with stand-ins for the worker runtime and some packages that need it."""
    folder = tmp_path / "wheels"
    for name, version in [
        ("numpy", "1.21.0"),
        ("numpy", "2.1.0"),
        ("pyarrow", "20.0.0"),
        ("pandas", "2.3.0"),
        ("onnxruntime", "1.20.0"),
        ("plain", "1.0"),
        ("plain", "1.1"),
    ]:
        make_wheel(folder, name, version)
    make_wheel(folder, "old_science", "0.9", requires=["numpy<1.22"])
    (folder / "empty-index").mkdir()
    make_wheel(folder, "lonely", "1.0", requires=["nowhere-to-be-found"])
    return folder


def environments(
    tmp_path: Path, wheels: Path, installer: Installer = "uv", timeout_s: float = 120
) -> VirtualEnvironments:
    return VirtualEnvironments(
        root=tmp_path / "environments",
        installer=installer,
        index_url=(wheels / "empty-index").as_uri(),
        find_links=str(wheels),
        timeout_s=timeout_s,
        environment={
            "PATH": os.environ["PATH"],
            "HOME": os.environ["HOME"],
            "PIP_CONFIG_FILE": os.devnull,
        },
    )


def compiled_in(environment: ModelEnvironment) -> set[str]:
    found = environment.python.parent.parent.rglob("site-packages/*/__pycache__/*.pyc")
    return {path.parent.parent.name for path in found}


def packages_of(environment: ModelEnvironment) -> dict[str, str]:
    code = (
        "from importlib.metadata import distributions as d;"
        "print(*(f'{x.name}=={x.version}' for x in d()))"
    )
    command = [str(environment.python), "-I", "-c", code]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return dict(item.split("==") for item in told.split())


def test_environment_holds_the_requirements_and_the_runtime(tmp_path: Path, wheels: Path) -> None:
    built = environments(tmp_path, wheels).ensure(Framework.CUSTOM, ["plain==1.0"])
    assert packages_of(built) == {"plain": "1.0", "numpy": "2.1.0", "pyarrow": "20.0.0"}
    folder = built.python.parent.parent
    assert folder.name == built.key
    assert "--hash=sha256:" in (folder / LOCK).read_text()
    assert "plain" in (folder / BUILD_LOG).read_text()
    assert compiled_in(built) == {"plain", "numpy", "pyarrow"}


@pytest.mark.parametrize(
    ("framework", "expected"),
    [
        (Framework.CUSTOM, {"numpy", "pandas", "pyarrow"}),
        (Framework.PYTHON, {"numpy", "pandas", "pyarrow"}),
        (Framework.ONNX, {"numpy", "onnxruntime", "pyarrow"}),
    ],
)
def test_no_requirements_give_the_base_environment(
    tmp_path: Path, wheels: Path, framework: Framework, expected: set[str]
) -> None:
    built = environments(tmp_path, wheels).ensure(framework, ["", "# nothing"])
    assert set(packages_of(built)) == expected


def test_same_lock_is_one_environment(tmp_path: Path, wheels: Path) -> None:
    mine = environments(tmp_path, wheels)
    loose = mine.ensure(Framework.CUSTOM, ["plain"])
    exact = mine.ensure(Framework.CUSTOM, ["plain==1.1 # the newest", "numpy"])
    other = mine.ensure(Framework.CUSTOM, ["plain==1.0"])
    assert loose == exact
    assert other.key != loose.key
    assert mine.get(loose.key) == loose


def test_kept_lock_needs_no_registry_and_outlives_a_new_release(
    tmp_path: Path, wheels: Path
) -> None:
    first = environments(tmp_path, wheels).ensure(Framework.CUSTOM, ["plain"])
    make_wheel(wheels, "plain", "2.0")
    assert environments(tmp_path, wheels).ensure(Framework.CUSTOM, ["plain"]) == first


def test_one_build_per_key_at_a_time(tmp_path: Path, wheels: Path) -> None:
    mine = environments(tmp_path, wheels)
    mine.ensure(Framework.CUSTOM, ["plain==1.0"])
    with ThreadPoolExecutor(4) as pool:
        built = list(pool.map(lambda _: mine.ensure(Framework.CUSTOM, ["plain"]), range(4)))
    assert len(set(built)) == 1
    log = (tmp_path / "environments" / built[0].key / BUILD_LOG).read_text()
    assert log.count(" pip sync ") == 1
    left_over = [p.name for p in (tmp_path / "environments").iterdir() if p.name[0] == "."]
    assert left_over == []


@pytest.mark.parametrize(
    ("requirement", "asked"), [("numpy==1.21.0", "numpy==1.21.0"), ("old-science", "numpy<1.22")]
)
def test_requirements_that_fight_the_runtime_are_refused_naming_both(
    tmp_path: Path, wheels: Path, requirement: str, asked: str
) -> None:
    with pytest.raises(RequirementsConflictError) as caught:
        environments(tmp_path, wheels).ensure(Framework.CUSTOM, [requirement])
    assert caught.value.facts["runtime"] == "numpy>=1.23"
    assert caught.value.facts["requirements"] == [asked]
    assert "numpy>=1.23" in caught.value.message
    assert asked in caught.value.message


@pytest.mark.parametrize("requirement", ["nowhere-to-be-found==1", "lonely", "plain==9.9"])
def test_requirements_that_cannot_be_found_show_the_installers_words(
    tmp_path: Path, wheels: Path, requirement: str
) -> None:
    with pytest.raises(EnvironmentBuildFailedError, match="not resolved") as caught:
        environments(tmp_path, wheels).ensure(Framework.CUSTOM, [requirement])
    assert requirement.partition("==")[0] in str(caught.value.facts["log_tail"])
    logs = list((tmp_path / "environments" / "logs").iterdir())
    assert len(logs) == 1
    assert requirement.partition("==")[0] in logs[0].read_text()


def test_failed_build_leaves_no_environment(tmp_path: Path, wheels: Path) -> None:
    mine = environments(tmp_path, wheels)
    mine.ensure(Framework.CUSTOM, ["plain==1.0"])
    broken = make_wheel(wheels, "broken", "1.0")
    key = mine.ensure(Framework.CUSTOM, ["broken"]).key
    shutil.rmtree(tmp_path / "environments" / key)
    broken.unlink()
    with pytest.raises(EnvironmentBuildFailedError, match="not built"):
        mine.ensure(Framework.CUSTOM, ["broken"])
    assert mine.get(key) is None
    assert [p for p in (tmp_path / "environments").iterdir() if p.name.startswith(".")] == []


def test_built_environment_is_read_only_and_its_interpreter_untouched(
    tmp_path: Path, wheels: Path
) -> None:
    interpreter = Path(sys.executable).resolve()
    mode = interpreter.stat().st_mode
    built = environments(tmp_path, wheels).ensure(Framework.CUSTOM, ["plain"])
    found = [path for path in built.python.parent.parent.rglob("*") if not path.is_symlink()]
    assert len(found) > 10
    assert [path for path in found if path.stat().st_mode & 0o222] == []
    assert {path.stat().st_nlink for path in found if path.is_file()} == {1}
    assert interpreter.stat().st_mode == mode


def test_left_overs_of_a_killed_server_are_removed_and_running_builds_are_not(
    tmp_path: Path, wheels: Path
) -> None:
    mine, other = environments(tmp_path, wheels), environments(tmp_path, wheels)
    left = tmp_path / "environments" / ".build-killed"
    (left / "environment" / "lib").mkdir(parents=True)
    (left / "environment").chmod(0o555)
    with mine._scratch() as running:
        other.remove_left_overs()
        assert running.exists()
    assert not left.exists()


def test_build_over_its_time_is_ended(tmp_path: Path, wheels: Path) -> None:
    with pytest.raises(EnvironmentBuildFailedError, match="not built within 0"):
        environments(tmp_path, wheels, timeout_s=0.001).ensure(Framework.CUSTOM, ["plain"])


def test_unsafe_requirement_is_refused(tmp_path: Path, wheels: Path) -> None:
    with pytest.raises(InvalidBundleError, match=r"-r other\.txt"):
        environments(tmp_path, wheels).ensure(Framework.CUSTOM, ["-r other.txt"])


def test_key_that_is_no_key_finds_nothing(tmp_path: Path, wheels: Path) -> None:
    mine = environments(tmp_path, wheels)
    assert mine.get("../../etc") is None
    assert mine.get("0" * 32) is None


def test_installer_sees_no_secret_of_the_server() -> None:
    given = {
        "PATH": "/bin", "HOME": "/home/x", "UV_INDEX_URL": "u", "PIP_CERT": "c",
        "SSL_CERT_FILE": "s", "BYOP_SECRET_KEY": "k", "OPENAI_API_KEY": "o",
    }  # fmt: skip
    seen = installer_environment(given)
    assert set(seen) == {"PATH", "HOME", "UV_INDEX_URL", "PIP_CERT", "SSL_CERT_FILE"}


def test_credentials_of_the_index_are_hidden_in_log_and_error(tmp_path: Path) -> None:
    mine = VirtualEnvironments(
        root=tmp_path / "environments",
        index_url="http://user:canary@127.0.0.1:9/simple",
        environment={**installer_environment(), "UV_HTTP_RETRIES": "0", "UV_HTTP_TIMEOUT": "2"},
    )
    with pytest.raises(EnvironmentBuildFailedError) as caught:
        mine.ensure(Framework.CUSTOM, ["plain"])
    (log,) = (tmp_path / "environments" / "logs").iterdir()
    assert "canary" not in log.read_text() + str(caught.value) + str(caught.value.facts)


@pytest.mark.slow
def test_pip_builds_the_same(tmp_path: Path, wheels: Path) -> None:
    mine = environments(tmp_path, wheels, "pip")
    built = mine.ensure(Framework.CUSTOM, ["plain==1.0"])
    found = packages_of(built)
    assert {"plain": "1.0", "numpy": "2.1.0", "pyarrow": "20.0.0"}.items() <= found.items()
    assert compiled_in(built) >= {"plain", "numpy", "pyarrow"}
    with pytest.raises(RequirementsConflictError) as caught:
        mine.ensure(Framework.CUSTOM, ["old-science"])
    assert caught.value.facts["runtime"] == "numpy>=1.23"
    assert caught.value.facts["requirements"] == ["numpy<1.22"]


@pytest.mark.registry
@pytest.mark.parametrize(
    ("requirements", "module", "version"),
    [
        (("openai==1.35", "httpx==0.27"), "openai", "1.35.0"),
        (("numpy==1.23.5", "pyarrow==16.0.0"), "pyarrow", "16.0.0"),
    ],
)
async def test_old_packages_run_beside_the_runtime(
    bench: Bench, models: Models, requirements: tuple[str, ...], module: str, version: str
) -> None:
    built = VirtualEnvironments(root=CACHE).ensure(Framework.CUSTOM, requirements)
    model = models.step(
        f"""
        import numpy as np
        import {module}

        def process_data(input_data):
            found = {module}.__version__ == "{version}"
            texts = np.array(["a"] * len(input_data["x"]), dtype=object)
            return {{"y": input_data["x"] * 0 + found, "text": texts}}
        """,
        outputs=pa.schema([("y", pa.float64()), ("text", pa.string())]),
    )
    await bench.run(replace(model, python=built.python))
    assert await bench.predict(5.0) == [1.0]
    assert sys.executable != str(built.python)
