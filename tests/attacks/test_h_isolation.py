"""Models that try to outlive, outgrow or overwrite what they were given."""

import contextlib
import ctypes
import os
import platform
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from byop.engine import landlock, worker_main
from byop.engine.isolation import Allowance, Isolation, open_isolation
from byop.engine.local import LocalEngine
from byop.errors import ModelCrashedError, ModelError, ModelFailedError
from byop.ports.engine import ModelLaunch
from byop.settings import IsolationMode
from tests.attacks.engines import FAST, NEIGHBOUR
from tests.engine.conftest import (
    DEPLOYMENT,
    DOUBLE,
    PATIENCE_S,
    Bench,
    Models,
    is_worker,
    until,
)

ROOT = Path(__file__).resolve().parents[2]
MIB = 1024**2
PROCESSES = 64

DAEMON = """
    import os, time

    def become_a_daemon(name):
        if os.fork():
            os.wait()
            return
        os.setsid()
        if os.fork():
            os._exit(0)
        os.execv("/bin/sleep", [name, "600"])

    become_a_daemon({name!r})

    def process_data(input_data):
        return {{"y": input_data["x"]}}
"""

SERVER = """
    import asyncio, logging, sys
    from pathlib import Path
    import structlog
    from byop.engine.isolation import Allowance, open_isolation
    from byop.engine.local import LocalEngine
    from tests.engine.conftest import Bench, Models

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))

    async def main(folder, mode, source):
        isolation = open_isolation(mode, allowance=Allowance(), root=folder / "isolation")
        engine = LocalEngine(
            run_dir=folder / "run", load_timeout_s=60, queue_limit=4, log_dir=folder / "logs",
            isolation=isolation,
        )
        await engine.open()
        bench = Bench(engine)
        await bench.run(Models(folder / "models").step(source), replica_count=2)
        await bench.until_true(lambda told: all(r.status == "Running" for r in told.replicas))
        print("running", flush=True)
        await asyncio.sleep(600)

    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
"""


@pytest.fixture
def mode(isolation: str) -> IsolationMode:
    return "process" if isolation == "process" else "auto"


@pytest.fixture
def models(tmp_path: Path) -> Models:
    return Models(tmp_path / "models")


@asynccontextmanager
async def bench_under(isolation: Isolation, folder: Path) -> AsyncIterator[Bench]:
    engine = LocalEngine(
        run_dir=folder / "run",
        load_timeout_s=PATIENCE_S,
        queue_limit=4,
        log_dir=folder / "logs",
        policy=FAST,
        isolation=isolation,
    )
    await engine.open()
    try:
        yield Bench(engine)
    finally:
        await engine.close(drain_s=0.5)
        isolation.close()


def named(name: str) -> list[psutil.Process]:
    """Return the processes that call themselves so."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, IndexError):
            if process.cmdline()[0] == name and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def below(pid: int) -> list[psutil.Process]:
    """Return the workers and whatever belongs to them, of a server."""
    return [p for p in psutil.Process(pid).children(recursive=True) if is_worker(p)]


BOMB = """
    import os

    def process_data(input_data):
        while input_data["x"][0] < 0:
            try:
                os.fork()
            except OSError:
                pass
        return {"y": input_data["x"]}
"""


async def test_h11_fork_bomb_stays_in_its_limit_and_ends_with_its_worker(
    tmp_path: Path, models: Models, mode: IsolationMode
) -> None:
    bomb = models.step(BOMB)
    opened = open_isolation(
        mode, allowance=Allowance(processes=PROCESSES), root=tmp_path / "isolation"
    )
    async with bench_under(opened, tmp_path) as bench:
        await bench.run(bomb, models.step(DOUBLE, version=NEIGHBOUR))
        quiet = len(below(os.getpid()))
        with pytest.raises(ModelError):
            await bench.predict(-1.0, deadline_s=2)
        assert len(below(os.getpid())) <= quiet + PROCESSES
        assert await bench.predict(4.0, version=NEIGHBOUR, deadline_s=PATIENCE_S) == [8.0]
        assert await bench.predict(1.0) == [1.0]
        await until(lambda: len(below(os.getpid())) <= quiet)


async def test_h11_fork_bomb_without_cgroups_is_seen_and_ended(
    tmp_path: Path, models: Models, mode: IsolationMode
) -> None:
    opened = open_isolation(
        mode,
        allowance=Allowance(processes=PROCESSES),
        root=tmp_path / "isolation",
        cgroups="off",
    )
    async with bench_under(opened, tmp_path) as bench:
        await bench.run(models.step(BOMB), models.step(DOUBLE, version=NEIGHBOUR))
        quiet = len(below(os.getpid()))
        with pytest.raises(ModelCrashedError, match="reached its limit of 64 processes"):
            await bench.predict(-1.0, deadline_s=PATIENCE_S)
        await until(lambda: len(below(os.getpid())) <= quiet)
        assert await bench.predict(4.0, version=NEIGHBOUR, deadline_s=PATIENCE_S) == [8.0]
        assert await bench.predict(1.0) == [1.0]


@pytest.mark.parametrize("has_cgroups", [True, False])
async def test_h18_daemon_that_forked_twice_is_gone_after_the_stop(
    tmp_path: Path, models: Models, mode: IsolationMode, *, has_cgroups: bool
) -> None:
    name = f"daemon-{secrets.token_hex(8)}"
    opened = open_isolation(mode, allowance=Allowance(), root=tmp_path / "isolation")
    without = opened if has_cgroups else replace(opened, groups=None)
    async with bench_under(without, tmp_path) as bench:
        await bench.run(models.step(DAEMON.format(name=name)))
        (daemon,) = named(name)
        assert daemon.ppid() not in (1, os.getpid())
        bench.engine.stop(DEPLOYMENT)
        await until(lambda: not named(name))
    opened.close()


async def test_h19_sigkill_of_the_server_leaves_no_worker_and_no_daemon(
    tmp_path: Path, mode: IsolationMode
) -> None:
    name = f"daemon-{secrets.token_hex(8)}"
    with started_server(tmp_path, mode, DAEMON.format(name=name)) as server:
        left = [*below(server.pid), *named(name)]
        assert len(named(name)) == 2
        server.send_signal(signal.SIGKILL)
        server.wait()
    await until(lambda: not any(map(lives, left)))
    open_isolation(mode, allowance=Allowance(), root=tmp_path / "isolation").close()


@contextlib.contextmanager
def started_server(
    folder: Path, mode: IsolationMode, source: str
) -> Iterator["subprocess.Popen[bytes]"]:
    script = folder / "server.py"
    script.write_text(textwrap.dedent(SERVER))
    with subprocess.Popen(
        [sys.executable, str(script), str(folder), mode, source],
        env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]},
        stdout=subprocess.PIPE,
    ) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == b"running\n"
            yield server
        finally:
            server.kill()


def lives(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


async def test_h23_full_scratch_folder_fails_its_request_only(
    tmp_path: Path, models: Models, mode: IsolationMode
) -> None:
    filling = models.step(
        """
        import tempfile

        def process_data(input_data):
            if input_data["x"][0] < 0:
                with tempfile.TemporaryFile() as file:
                    while True:
                        file.write(bytes(2**20))
            return {"y": input_data["x"]}
        """
    )
    opened = open_isolation(
        mode, allowance=Allowance(scratch_bytes=8 * MIB), root=tmp_path / "isolation"
    )
    async with bench_under(opened, tmp_path) as bench:
        await bench.run(filling, models.step(DOUBLE, version=NEIGHBOUR))
        for _ in range(2):
            with pytest.raises(ModelFailedError, match=r"No space left|File too large"):
                await bench.predict(-1.0)
            assert await bench.predict(1.0) == [1.0]
        assert await bench.predict(4.0, version=NEIGHBOUR) == [8.0]


WRITING = """
    def process_data(input_data):
        refused = 0
        for path in {paths!r}:
            try:
                with open(path, "a") as file:
                    file.write("# changed")
            except OSError as error:
                print(path, error, flush=True)
                refused += 1
        return {{"y": input_data["x"] * 0 + refused}}
"""


async def test_h24_environment_model_and_server_cannot_be_changed(
    tmp_path: Path, models: Models, mode: IsolationMode
) -> None:
    """Neither what a model runs from, nor another's files, nor the server's."""
    neighbour = models.step(DOUBLE, version=NEIGHBOUR)
    canary = tmp_path / "of-the-server"
    canary.touch()
    targets = [Path(np.__file__), Path(worker_main.__file__), Path(os.__file__), canary]
    targets += [Path(sys.prefix) / "pyvenv.cfg", neighbour.path]
    before = [path.read_bytes() for path in targets]
    writing = models.step(WRITING.format(paths=[str(path) for path in targets]))
    opened = open_isolation(mode, allowance=Allowance(), root=tmp_path / "isolation")
    if opened.level == "process":
        pytest.skip("this kernel has no landlock")
    async with bench_under(opened, tmp_path) as bench:
        await bench.run(own_file_too(writing), neighbour)
        (refused,) = await bench.predict(1.0)
        assert refused >= len(targets)  # a new file beside the server's is in the model's own /tmp
    assert [path.read_bytes() for path in targets] == before


OPENING = """
    import os
    from pathlib import Path

    PLACES = ("sys/kernel/core_pattern", "sys/vm/drop_caches", "sysrq-trigger", "mtrr")

    def of_the_machine():
        for place in Path("/proc").iterdir():
            if place.name.isdigit() or place.is_symlink() or place.name == "self":
                continue
            if place.is_dir():
                yield from place.rglob("*")
            else:
                yield place

    def can_be_opened(path):
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
        except OSError:
            return False
        return True

    def process_data(input_data):
        found = [path for path in PLACES if can_be_opened(f"/proc/{path}")]
        found += [path for path in of_the_machine() if can_be_opened(path)]
        print(found[:20], flush=True)
        return {"y": input_data["x"] * 0 + len(found)}
"""


async def test_h24_kernel_settings_cannot_be_opened_for_writing(
    tmp_path: Path, models: Models, mode: IsolationMode
) -> None:
    """Root of the host may write them, whichever number its user has in a namespace."""
    opened = open_isolation(mode, allowance=Allowance(), root=tmp_path / "isolation")
    if opened.level == "process":
        pytest.skip("this kernel has no landlock")
    async with bench_under(opened, tmp_path) as bench:
        await bench.run(models.step(OPENING))
        assert await bench.predict(1.0) == [0.0]


DEVICES = """
    import os

    def can_be_read(path):
        try:
            os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
        except OSError:
            return False
        return True

    def process_data(input_data):
        with open("/dev/null", "w") as null, open("/dev/urandom", "rb") as source:
            null.write(source.read(4).hex())
            os.listdir("/dev/fd")
        found = [path for path in {paths!r} if can_be_read(path)]
        print(found, flush=True)
        return {{"y": input_data["x"] * 0 + len(found)}}
"""


async def test_h24_shared_memory_and_devices_of_the_machine_cannot_be_read(
    tmp_path: Path, models: Models, mode: IsolationMode
) -> None:
    opened = open_isolation(mode, allowance=Allowance(), root=tmp_path / "isolation")
    if opened.level == "process":
        pytest.skip("this kernel has no landlock")
    with tempfile.NamedTemporaryFile(dir="/dev/shm") as shared:
        paths = [shared.name, "/dev/kmsg", "/dev/hwrng", "/dev/net/tun", "/dev/fuse", "/dev/kvm"]
        async with bench_under(opened, tmp_path) as bench:
            await bench.run(models.step(DEVICES.format(paths=paths)))
            assert await bench.predict(1.0) == [0.0]


SEARCHING = """
    import ctypes, os

    def process_data(input_data):
        number, session, search = ctypes.c_long({number}), ctypes.c_long(-3), ctypes.c_long(10)
        library = ctypes.CDLL(None)
        key = library.syscall(number, search, session, b"user", {name!r}, ctypes.c_long(0))
        return {{"y": input_data["x"] * 0 + (key > 0)}}
"""


async def test_h24_keys_of_the_servers_session_are_not_inherited(
    tmp_path: Path, models: Models, mode: IsolationMode
) -> None:
    """A session keyring, as logins and systemd make them, passes to children and namespaces."""
    name = f"byop-{secrets.token_hex(8)}".encode()
    numbers = {"x86_64": (250, 248), "aarch64": (219, 217)}
    if platform.machine() not in numbers or not holds_key(name, *numbers[platform.machine()]):
        pytest.skip("this machine keeps no keys")
    opened = open_isolation(mode, allowance=Allowance(), root=tmp_path / "isolation")
    source = SEARCHING.format(number=numbers[platform.machine()][0], name=name)
    async with bench_under(opened, tmp_path) as bench:
        await bench.run(models.step(source))
        assert await bench.predict(1.0) == [0.0]


def holds_key(name: bytes, keyctl: int, add_key: int) -> bool:
    """Give this process a session keyring of its own with a key in it, that it can find."""
    library, session = ctypes.CDLL(None), ctypes.c_long(-3)
    join, search = ctypes.c_long(1), ctypes.c_long(10)
    library.syscall(ctypes.c_long(keyctl), join, None)
    text = b"canary"
    added = (b"user", name, text, ctypes.c_long(len(text)), session)
    library.syscall(ctypes.c_long(add_key), *added)
    sought = (search, session, b"user", name, ctypes.c_long(0))
    return int(library.syscall(ctypes.c_long(keyctl), *sought)) > 0


def own_file_too(model: ModelLaunch) -> ModelLaunch:
    source = model.path.read_text()
    model.path.write_text(source.replace("for path in [", "for path in [__file__, "))
    return model


@pytest.mark.parametrize("network", [True, False])
async def test_h24_network_is_on_or_off(
    tmp_path: Path, models: Models, mode: IsolationMode, *, network: bool
) -> None:
    opened = open_isolation(mode, allowance=Allowance(network=network), root=tmp_path / "isolation")
    with accepting() as port:
        connecting = models.step(
            f"""
            import socket

            def process_data(input_data):
                try:
                    socket.create_connection(("127.0.0.1", {port}), 10).close()
                except OSError:
                    return {{"y": input_data["x"] * 0}}
                return {{"y": input_data["x"]}}
            """
        )
        async with bench_under(opened, tmp_path) as bench:
            await bench.run(connecting)
            assert await bench.predict(1.0) == [float(network)]


async def test_h24_abstract_socket_of_the_machine_is_out_of_reach(
    tmp_path: Path, models: Models, mode: IsolationMode
) -> None:
    """Such sockets belong to the network namespace, which is shared when the network is on."""
    if landlock.version() < landlock.SIGNALS_ARE_SCOPED_FROM:
        pytest.skip("this kernel cannot keep a process from them")
    name = f"\0byop-{secrets.token_hex(8)}"
    connecting = models.step(
        f"""
        import socket

        def process_data(input_data):
            try:
                socket.socket(socket.AF_UNIX).connect({name!r})
            except PermissionError:
                return {{"y": input_data["x"] * 0}}
            return {{"y": input_data["x"]}}
        """
    )
    opened = open_isolation(mode, allowance=Allowance(), root=tmp_path / "isolation")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(name)
        listener.listen()
        async with bench_under(opened, tmp_path) as bench:
            await bench.run(connecting)
            assert await bench.predict(1.0) == [0.0]


@contextlib.contextmanager
def accepting() -> Iterator[int]:
    """Listen on this machine, and give the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_accept, args=(listener,), daemon=True).start()
        yield int(listener.getsockname()[1])


def _accept(listener: socket.socket) -> None:
    with contextlib.suppress(OSError):
        listener.accept()[0].close()
