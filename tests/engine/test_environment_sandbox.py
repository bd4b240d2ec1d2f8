"""Packages whose setup code attacks the machine on which they are built."""

import asyncio
import contextlib
import io
import json
import os
import secrets
import signal
import subprocess
import sys
import tarfile
import textwrap
from pathlib import Path

import psutil
import pytest

from byop.domain.models import Framework
from byop.engine.environments import VirtualEnvironments
from byop.engine.isolation import BY_PROCESS, Allowance, Isolation, open_isolation
from tests.engine.conftest import until
from tests.fakes.wheels import make_wheel

ROOT = Path(__file__).resolve().parents[2]
METADATA = "Metadata-Version: 2.2\nName: hostile\nVersion: 1.0\n"
WHEEL = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
PROJECT = """
    [build-system]
    requires = []
    build-backend = "backend"
    backend-path = ["."]
    [project]
    name = "hostile"
    version = "1.0"
"""
BACKEND = """
    import json, os, pathlib, time, zipfile

    def try_to(act):
        try:
            return str(act())
        except OSError as error:
            return type(error).__name__

    def become_a_daemon():
        if os.fork():
            return
        os.setsid()
        if os.fork():
            os._exit(0)
        nothing = os.open(os.devnull, os.O_RDWR)
        for standard in range(3):
            os.dup2(nothing, standard)
        os.execv("/bin/sleep", [{daemon!r}, "600"])

    def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
        home, server = pathlib.Path(os.environ["HOME"]), pathlib.Path({server!r})
        told = {{
            "read of the server": try_to((server / "metadata.sqlite3").read_text),
            "read of the home": try_to((home / "secret").read_text),
            "write to the server": try_to(lambda: (server / "planted").write_text("x")),
            "write to packages": try_to(lambda: (server.parent / "packages" / "x").write_text("x")),
            "write to the kernel": try_to(lambda: open("/proc/sys/vm/drop_caches", "w").close()),
            "processes": len([name for name in os.listdir("/proc") if name.isdigit()]),
            "variables": sorted(os.environ),
        }}
        become_a_daemon()
        if {hangs}:
            time.sleep(600)
        name = "hostile-1.0-py3-none-any.whl"
        with zipfile.ZipFile(pathlib.Path(wheel_directory) / name, "w") as wheel:
            info = "hostile-1.0.dist-info"
            wheel.writestr("told.json", json.dumps(told))
            wheel.writestr(f"{{info}}/METADATA", {metadata!r})
            wheel.writestr(f"{{info}}/WHEEL", {wheel!r})
            wheel.writestr(f"{{info}}/RECORD", f"told.json,,\\n{{info}}/RECORD,,\\n")
        return name
"""
SERVER = """
    import sys
    from pathlib import Path
    from tests.engine.test_environment_sandbox import environments, opened
    from byop.domain.models import Framework

    folder = Path(sys.argv[1])
    environments(folder, opened(folder, sys.argv[2])).ensure(Framework.CUSTOM, ["hostile"])
"""


def make_hostile_package(folder: Path, daemon: str, *, hangs: bool = False) -> None:
    """Lay out a server's home, a user's home and a package that is after both."""
    (folder / "server").mkdir()
    (folder / "server" / "metadata.sqlite3").write_text("canary")
    (folder / "user").mkdir()
    (folder / "user" / "secret").write_text("canary")
    packages = folder / "packages"
    make_wheel(packages, "numpy", "2.1.0")
    make_wheel(packages, "pyarrow", "20.0.0")
    (packages / "empty-index").mkdir()
    backend = BACKEND.format(
        server=str(folder / "server"), daemon=daemon, hangs=hangs, metadata=METADATA, wheel=WHEEL
    )
    files = {
        "PKG-INFO": METADATA,
        "pyproject.toml": textwrap.dedent(PROJECT),
        "backend.py": textwrap.dedent(backend),
    }
    with tarfile.open(packages / "hostile-1.0.tar.gz", "w:gz") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(f"hostile-1.0/{name}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))


def environments(folder: Path, isolation: Isolation) -> VirtualEnvironments:
    return VirtualEnvironments(
        root=folder / "server" / "environments",
        index_url=(folder / "packages" / "empty-index").as_uri(),
        find_links=str(folder / "packages"),
        environment={"PATH": os.environ["PATH"], "HOME": str(folder / "user")},
        isolation=isolation,
    )


def opened(folder: Path, mode: str) -> Isolation:
    """Return bubblewrap or, when it is not asked for, nothing."""
    if mode == "process":
        return BY_PROCESS
    found = open_isolation("auto", allowance=Allowance(), root=folder / "server" / "isolation")
    if found.bubblewrap is None:
        pytest.skip(found.reason)
    return found


def living(name: str) -> list[psutil.Process]:
    """Return the processes that call themselves so."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, IndexError):
            if process.cmdline()[0] == name and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def test_setup_code_reads_no_home_writes_nothing_outside_and_leaves_no_daemon(
    tmp_path: Path,
) -> None:
    daemon = f"daemon-{secrets.token_hex(8)}"
    make_hostile_package(tmp_path, daemon)
    built = environments(tmp_path, opened(tmp_path, "auto")).ensure(Framework.CUSTOM, ["hostile"])
    (report,) = built.python.parent.parent.rglob("told.json")
    told = json.loads(report.read_text())
    assert told["read of the server"] == "FileNotFoundError"
    assert told["read of the home"] == "FileNotFoundError"
    assert told["write to packages"] == "OSError"
    assert told["write to the kernel"] in {"OSError", "PermissionError"}
    assert told["processes"] < 10
    assert {"HOME", "PATH", "TMPDIR"} <= set(told["variables"])
    assert not [name for name in told["variables"] if name.startswith("BYOP_")]
    assert living(daemon) == []
    assert not (tmp_path / "server" / "planted").exists()  # it wrote into a folder in memory
    assert (tmp_path / "user" / ".cache" / "uv").exists()


def test_setup_code_leaves_no_daemon_where_there_is_no_sandbox(tmp_path: Path) -> None:
    daemon = f"daemon-{secrets.token_hex(8)}"
    make_hostile_package(tmp_path, daemon)
    built = environments(tmp_path, BY_PROCESS).ensure(Framework.CUSTOM, ["hostile"])
    (report,) = built.python.parent.parent.rglob("told.json")
    assert json.loads(report.read_text())["read of the server"] == "canary"
    assert living(daemon) == []


@pytest.mark.parametrize("mode", ["auto", "process"])
def test_kill_9_of_the_server_ends_the_build_that_runs(tmp_path: Path, mode: str) -> None:
    daemon = f"daemon-{secrets.token_hex(8)}"
    make_hostile_package(tmp_path, daemon, hangs=True)
    opened(tmp_path, mode).close()
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SERVER), str(tmp_path), mode],
        env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]},
    ) as server:
        asyncio.run(until(lambda: server.poll() is not None or bool(living(daemon))))
        below = psutil.Process(server.pid).children(recursive=True)
        assert len(below) >= 3
        server.send_signal(signal.SIGKILL)
        server.wait()
    asyncio.run(until(lambda: not living(daemon) and not any(p.is_running() for p in below)))
