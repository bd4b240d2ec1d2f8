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


def test_interpreter_of_an_environment_comes_with_its_base(tmp_path: Path) -> None:
    base = tmp_path / "base" / "bin"
    base.mkdir(parents=True)
    (base / "python3").touch()
    environment = tmp_path / "environment"
    (environment / "bin").mkdir(parents=True)
    (environment / "bin" / "python").symlink_to(base / "python3")
    (environment / "pyvenv.cfg").write_text(f"home = {base}\n")
    found = interpreter_paths(environment / "bin" / "python")
    assert found == [str(tmp_path / "base"), str(environment)]
