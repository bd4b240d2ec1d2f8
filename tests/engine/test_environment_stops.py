"""A server that stops while an environment is built: real installers, ended at once."""

import io
import os
import signal
import sys
import tarfile
import textwrap
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from byop.domain.models import Framework
from byop.engine.environments import VirtualEnvironments
from byop.engine.installer_processes import InstallerProcesses
from byop.errors import ServerStoppingError
from tests.engine.conftest import until, until_ended, until_file
from tests.fakes.wheels import make_wheel

BACKEND = """
    import os, pathlib, time, zipfile
    HERE = pathlib.Path({folder!r})

    def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
        (HERE / "started").write_text(str(os.getpid()))
        while not (HERE / "go").exists():
            time.sleep(0.01)
        name = "slow-1.0-py3-none-any.whl"
        with zipfile.ZipFile(pathlib.Path(wheel_directory) / name, "w") as wheel:
            info = "slow-1.0.dist-info"
            wheel.writestr("slow.py", "")
            wheel.writestr(f"{{info}}/METADATA", {metadata!r})
            wheel.writestr(f"{{info}}/WHEEL", {wheel!r})
            wheel.writestr(f"{{info}}/RECORD", f"slow.py,,\\n{{info}}/RECORD,,\\n")
        return name
"""
METADATA = "Metadata-Version: 2.2\nName: slow\nVersion: 1.0\n"
WHEEL = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
PROJECT = """
    [build-system]
    requires = []
    build-backend = "backend"
    backend-path = ["."]
    [project]
    name = "slow"
    version = "1.0"
"""


def make_slow_package(folder: Path) -> None:
    """Write a source package that resolves at once and installs once ``go`` lies in ``folder``."""
    backend = BACKEND.format(folder=str(folder), metadata=METADATA, wheel=WHEEL)
    files = {
        "PKG-INFO": METADATA,
        "pyproject.toml": textwrap.dedent(PROJECT),
        "backend.py": textwrap.dedent(backend),
    }
    with tarfile.open(folder / "slow-1.0.tar.gz", "w:gz") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(f"slow-1.0/{name}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    folder = tmp_path / "packages"
    make_wheel(folder, "numpy", "2.1.0")
    make_wheel(folder, "pyarrow", "20.0.0")
    (folder / "empty-index").mkdir()
    make_slow_package(folder)
    return folder


def environments(root: Path, packages: Path) -> VirtualEnvironments:
    return VirtualEnvironments(
        root=root,
        index_url=(packages / "empty-index").as_uri(),
        find_links=str(packages),
        environment={"PATH": os.environ["PATH"], "HOME": os.environ["HOME"]},
    )


async def until_waiting(count: int) -> None:
    """Wait until so many calls hold or want the lock of a build."""
    this = psutil.Process()
    await until(lambda: sum(f.path.endswith(".building") for f in this.open_files()) == count)


async def test_close_ends_the_build_and_whoever_waits_for_it(
    tmp_path: Path, packages: Path
) -> None:
    root = tmp_path / "environments"
    mine = environments(root, packages)
    with ThreadPoolExecutor(2) as pool, closing(mine):
        builds = [pool.submit(mine.ensure, Framework.CUSTOM, ["slow"])]
        builder = int(await until_file(packages / "started"))
        builds.append(pool.submit(mine.ensure, Framework.CUSTOM, ["slow"]))
        await until_waiting(2)
        mine.close()
        for build in builds:
            with pytest.raises(ServerStoppingError, match="the server is stopping"):
                build.result(60)
    await until_ended(builder)
    with pytest.raises(ServerStoppingError):
        mine.ensure(Framework.CUSTOM, ["slow"])
    assert sorted(path.name for path in root.iterdir()) == ["locks", "logs"]
    (packages / "go").touch()
    assert environments(root, packages).ensure(Framework.CUSTOM, ["slow"]).python.exists()


async def test_close_does_not_wait_for_the_builder_in_another_server(
    tmp_path: Path, packages: Path
) -> None:
    root = tmp_path / "environments"
    other, mine = environments(root, packages), environments(root, packages)
    with ThreadPoolExecutor(2) as pool, closing(mine), closing(other):
        building = pool.submit(other.ensure, Framework.CUSTOM, ["slow"])
        await until_file(packages / "started")
        waiting = pool.submit(mine.ensure, Framework.CUSTOM, ["slow"])
        await until_waiting(2)
        mine.close()
        with pytest.raises(ServerStoppingError):
            waiting.result(60)
        assert not building.done()
        (packages / "go").touch()
        assert building.result(60).python.exists()


async def test_installer_that_ignores_the_polite_signal_is_killed(tmp_path: Path) -> None:
    code = (
        "import os, pathlib, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "pathlib.Path('started').write_text(str(os.getpid())); time.sleep(600)"
    )
    processes = InstallerProcesses()
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(
            processes.run, [sys.executable, "-c", code], cwd=tmp_path, environment={}, timeout_s=600
        )
        pid = int(await until_file(tmp_path / "started"))
        os.kill(pid, signal.SIGTERM)
        processes.close(grace_s=0.2)
        with pytest.raises(ServerStoppingError):
            run.result(60)
    await until_ended(pid)


def test_command_that_ended_well_is_no_victim_of_a_stop(tmp_path: Path) -> None:
    processes = InstallerProcesses()
    command = [sys.executable, "-c", "print('done')"]
    finished = processes.run(command, cwd=tmp_path, environment={}, timeout_s=60)
    assert (finished.returncode, finished.output) == (0, "done\n")
    processes.close(grace_s=1)
    with pytest.raises(ServerStoppingError):
        processes.run(command, cwd=tmp_path, environment={}, timeout_s=60)
