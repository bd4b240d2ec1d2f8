"""A worker's operating system process: its socket, its start, its output, its end."""

import contextlib
import json
import os
import secrets
import signal
import socket
import struct
import subprocess
import tempfile
import threading
from asyncio import AbstractEventLoop
from collections.abc import Callable
from pathlib import Path

from byop.engine.frames import MAX_PAYLOAD_BYTES
from byop.engine.isolation import BY_PROCESS, Isolation
from byop.engine.schema_texts import schema_to_text
from byop.engine.watchdog import Shortage, end_tree
from byop.engine.worker_logs import LogDrain
from byop.ports.engine import ModelLaunch

_LONGEST_SOCKET_PATH = 100
"""The kernel's limit is 108 bytes (104 on macOS), the ending zero included."""
_OUTPUT_WAIT_S = 0.5
_SUPERVISOR_S = 1.0
"""How long a supervisor may take to end what it supervises."""
_SIGNAL_OFFSET = 128


class RunDirectory:
    """Where sockets lie: readable by this user only, with paths that fit a socket address."""

    def __init__(self, wanted: Path) -> None:
        self._own: tempfile.TemporaryDirectory[str] | None = None
        if len(os.fsencode(wanted)) + len("/12345678.sock") > _LONGEST_SOCKET_PATH:
            self._own = tempfile.TemporaryDirectory(prefix="byop-")
            wanted = Path(self._own.name)
        wanted.mkdir(mode=0o700, parents=True, exist_ok=True)
        wanted.chmod(0o700)
        for left_over in wanted.glob("*.sock"):
            left_over.unlink(missing_ok=True)
        self._path = wanted

    def bind(self) -> tuple[socket.socket, Path]:
        """Return a new listening socket and its path."""
        path = self._path / f"{secrets.token_hex(4)}.sock"
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(path))
        listener.listen(16)
        return listener, path

    def close(self) -> None:
        """Remove a directory that was made because the wanted path was too long."""
        if self._own is not None:
            self._own.cleanup()


class WorkerProcess:
    """A started worker. It is the leader of a process group that ends with it."""

    def __init__(
        self,
        launch: ModelLaunch,
        listener: socket.socket,
        *,
        isolation: Isolation = BY_PROCESS,
        max_answer_bytes: int = MAX_PAYLOAD_BYTES,
    ) -> None:
        """Start the process; the caller closes its copy of ``listener``.

        Must run in a thread that lives as long as the workers: Linux ties their death to the
        thread that started them.
        """
        self._isolation = isolation
        self._confinement = isolation.confine(launch)
        self._launch = launch
        self._shortage: str | None = None
        self._overrun: Shortage | None = None
        output, its_output = os.pipe()
        self.output = output
        try:
            self._popen = subprocess.Popen(  # noqa: S603 - the environment's interpreter, no shell
                self._confinement.command,
                env={},
                stdin=subprocess.PIPE,
                stdout=its_output,
                stderr=its_output,
                pass_fds=[listener.fileno(), *self._confinement.descriptors],
                cwd=self._confinement.directory,
                start_new_session=True,
            )
        except BaseException:
            os.close(output)
            self._confinement.remove()
            raise
        finally:
            os.close(its_output)
            self._confinement.close_descriptors()
        self.pid = self._popen.pid
        self._lock = threading.Lock()
        self._is_reaped = False
        self._is_told_to_end = False
        self._describe(launch, listener.fileno(), max_answer_bytes)
        isolation.watchdog.watch(self.pid, isolation.bounds(launch.resources), self._end_for)

    def watch(
        self, drain: LogDrain, loop: AbstractEventLoop, on_exit: Callable[[int], None]
    ) -> None:
        """Drain the output, and call ``on_exit`` on the loop with the return code at the end."""
        drain.start()
        threading.Thread(
            target=self._wait, args=(drain, loop, on_exit), name="worker-exit", daemon=True
        ).start()

    def kill(self) -> bool:
        """End the process and those that it started, at once; return whether it was there."""
        with self._lock:
            if self._is_reaped:
                return False
            self._end()
            return True

    def describe_end(self, code: int) -> str:
        """Return in words how the process ended. ``code`` is what ``on_exit`` was called with."""
        if self._isolation.bubblewrap is not None and code > _SIGNAL_OFFSET:
            code = _SIGNAL_OFFSET - code  # bubblewrap tells a signal as shells do
        ended = describe_exit(code)
        return ended if self._shortage is None else f"{self._shortage} ({ended})"

    def cut_lifeline(self) -> None:
        """Close the pipe whose end tells the worker that its gateway is gone."""
        if self._popen.stdin is not None:
            with contextlib.suppress(OSError):
                self._popen.stdin.close()

    def _wait(
        self, drain: LogDrain, loop: AbstractEventLoop, on_exit: Callable[[int], None]
    ) -> None:
        if hasattr(os, "waitid"):  # macOS has it from Python 3.13 on
            # While the process is not reaped its group's number cannot be given to another one.
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        else:
            self._popen.wait()
        with self._lock:
            self._kill_group()
            code = self._popen.wait()
            self._is_reaped = True
        self._isolation.watchdog.forget(self.pid)
        self._shortage = self._describe_shortage()
        self._confinement.remove()
        self.cut_lifeline()
        drain.join(_OUTPUT_WAIT_S)
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(on_exit, code)

    def _end(self) -> None:
        """Tell a supervisor to end all that descends from it; anything else dies by SIGKILL."""
        if self._confinement.group is not None:
            self._confinement.group.kill()
            self._kill_group()  # it may not have joined its cgroup yet
        elif self._isolation.is_supervised and not self._is_told_to_end:
            self._is_told_to_end = True
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(self.pid, signal.SIGTERM)
                os.kill(self.pid, signal.SIGCONT)
            timer = threading.Timer(_SUPERVISOR_S, self._kill_unless_reaped)
            timer.daemon = True
            timer.start()
        else:
            self._kill_group()

    def _end_for(self, shortage: Shortage) -> None:
        with self._lock:
            if self._is_reaped:
                return
            self._overrun = shortage
            if self._isolation.is_supervised:
                end_tree(self.pid)  # faster than its supervisor can be when it forks and forks
            self._end()

    def _kill_unless_reaped(self) -> None:
        with self._lock:
            if not self._is_reaped:
                self._kill_group()

    def _describe_shortage(self) -> str | None:
        """Return what of its resources the worker has used up, None when nothing."""
        group, overrun = self._confinement.group, self._overrun
        if overrun == "memory" or (group is not None and group.was_out_of_memory()):
            limit = format_bytes(self._launch.resources.memory_bytes)
            return f"out of memory: the worker used more than its limit of {limit}"
        if overrun == "processes" or (group is not None and group.was_out_of_processes()):
            return f"it reached its limit of {self._isolation.allowance.processes} processes"
        return None

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def _describe(self, launch: ModelLaunch, listener: int, max_answer_bytes: int) -> None:
        """Tell the worker what to load. The pipe stays open: its end would end the worker."""
        description = json.dumps(
            {
                "listener": listener,
                "model": launch.name,
                "framework": launch.framework.value,
                "path": str(launch.path),
                "inputs": schema_to_text(launch.signature.inputs),
                "outputs": schema_to_text(launch.signature.outputs),
                "concurrency": launch.resources.concurrency,
                "cpus": launch.resources.cpus,
                "max_answer_bytes": max_answer_bytes,
                "environment": dict(launch.resources.environment),
                "defaults": dict(self._confinement.defaults),
                "confinement": dict(self._confinement.told),
            }
        ).encode()
        if self._popen.stdin is None:
            raise RuntimeError("a worker is started with a pipe as standard input")
        with contextlib.suppress(BrokenPipeError):  # it is dead already: on_exit tells
            self._popen.stdin.write(struct.pack("<Q", len(description)) + description)
            self._popen.stdin.flush()


def describe_exit(code: int) -> str:
    """Return how a process ended, in words."""
    if code >= 0:
        return f"the worker process exited with code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = str(-code)
    return f"the worker process was killed by signal {name}"


def format_bytes(size: int | None) -> str:
    """Return an amount of memory as deployments give it."""
    if size is None:
        return "no bytes"
    for unit, scale in (("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024)):
        if size >= scale:
            return f"{size / scale:g} {unit}"
    return f"{size} bytes"
