import os
from dataclasses import replace
from pathlib import Path

import pytest

from byop.engine import landlock
from byop.engine.cgroups import CgroupsUnusableError, ControlGroups, Limits
from byop.engine.isolation import Allowance, Isolation, open_isolation
from byop.engine.visible_paths import interpreter_paths
from byop.errors import SettingsInvalidError
from byop.ports.engine import ModelLaunch
from tests.engine.conftest import Bench, Models, worker


def test_required_isolation_without_bubblewrap_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SettingsInvalidError, match=r"BYOP_ISOLATION: bwrap is not installed"):
        open_isolation("required", allowance=Allowance(), root=tmp_path / "isolation")


def test_process_leaves_bubblewrap_out_and_says_so(tmp_path: Path) -> None:
    opened = open_isolation("process", allowance=Allowance(), root=tmp_path / "isolation")
    assert opened.level == ("landlock" if landlock.version() else "process")
    assert opened.reason == "BYOP_ISOLATION is process"
    opened.close()


async def test_variables_that_the_interpreter_reads_itself_hold(
    bench: Bench, models: Models
) -> None:
    model = models.step(
        """
        import os, sys

        def process_data(input_data):
            is_optimised = sys.flags.optimize and os.environ["SECRET"] == "canary"
            return {"y": input_data["x"] * bool(is_optimised)}
        """,
        environment={"PYTHONOPTIMIZE": "1", "SECRET": "canary"},
    )
    await bench.run(model)
    assert await bench.predict(2.0) == [2.0]
    shown = Path(f"/proc/{worker()}/environ").read_bytes()  # noqa: ASYNC240 - a few bytes
    assert b"PYTHONOPTIMIZE" in shown
    assert b"canary" not in shown


async def test_status_tells_the_level(bench: Bench, models: Models, isolated: Isolation) -> None:
    await bench.run(models.step("def process_data(input_data): return {'y': input_data['x']}"))
    told = await bench.until_true(lambda found: bool(found.replicas))
    assert told.isolation == isolated.level


def test_groups_that_a_killed_server_left_are_removed_at_the_next_start() -> None:
    try:
        killed = ControlGroups("test-left-overs")
    except CgroupsUnusableError as error:
        pytest.skip(str(error))
    left = killed.make(Limits(memory_bytes=2**30, cpus=0.5, processes=10))
    assert all(folder.exists() for folder in left.folders)
    again = ControlGroups("test-left-overs")
    assert not any(folder.exists() for folder in left.folders)
    again.close()


def test_worker_is_told_the_limits_that_no_cgroup_holds(
    models: Models, isolated: Isolation
) -> None:
    told = replace(isolated, groups=None).confine(limited(models, 512 * 1024**2, cpus=1.5))
    told.close_descriptors()
    told.remove()
    limits = told.told["limits"]
    assert isinstance(limits, dict)
    assert limits["address_space_bytes"] == (512 + 2048) * 1024**2
    cpus = told.told["cpus"]
    assert isinstance(cpus, list)
    assert len(cpus) == min(2, len(os.sched_getaffinity(0)))


def limited(models: Models, memory_bytes: int, *, cpus: float) -> ModelLaunch:
    model = models.step("")
    resources = replace(model.resources, memory_bytes=memory_bytes, cpus=cpus)
    return replace(model, resources=resources)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Return an installation of an interpreter."""
    prefix = tmp_path / "base"
    for folder in ("bin", "include", "lib/python3.11", "share"):
        (prefix / folder).mkdir(parents=True)
    (prefix / "lib" / "python3.11" / "os.py").touch()
    (prefix / "bin" / "python3").touch()
    return prefix


def environment_of(folder: Path, python: Path) -> Path:
    """Return the interpreter of a virtual environment whose base was started by this path."""
    (folder / "bin").mkdir(parents=True, exist_ok=True)
    (folder / "bin" / "python").symlink_to(python)
    (folder / "pyvenv.cfg").write_text(f"home = {python.parent}\n")
    return folder / "bin" / "python"


def linked(home: Path, base: Path) -> Path:
    """Return a link to the interpreter in a user's home that holds a secret key."""
    (home / "bin").mkdir(parents=True)
    (home / ".byop").mkdir()
    (home / "bin" / "python3").symlink_to(base / "bin" / "python3")
    return home / "bin" / "python3"


def parts(base: Path) -> list[str]:
    return [str(base / name) for name in ("bin", "include", "lib")]


def test_interpreter_of_an_environment_comes_with_its_base(tmp_path: Path, base: Path) -> None:
    python = environment_of(tmp_path / "environment", base / "bin" / "python3")
    assert interpreter_paths(python) == [*parts(base), str(tmp_path / "environment")]


def test_interpreter_behind_a_link_in_a_home_brings_the_link_and_nothing_else_of_the_home(
    tmp_path: Path, base: Path
) -> None:
    link = linked(tmp_path / "home", base)
    python = environment_of(tmp_path / "environment", link)
    expected = [*parts(base), str(tmp_path / "environment"), str(link)]
    assert interpreter_paths(python) == expected
    assert interpreter_paths(link) == [*parts(base), str(link)]


def test_environment_that_is_a_home_or_holds_what_is_hidden_is_not_visible_whole(
    tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    python = environment_of(home, base / "bin" / "python3")
    expected = [*parts(base), str(home / "bin"), str(home / "pyvenv.cfg")]
    hidden = home / "server" / "isolation"
    assert interpreter_paths(python, hidden=[hidden]) == expected
    monkeypatch.setenv("HOME", str(home))
    assert interpreter_paths(python) == expected
    assert str(home / "bin") not in interpreter_paths(python, hidden=[home / "bin" / "server"])
