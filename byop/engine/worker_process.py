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

from byop.engine import worker_main
from byop.engine.frames import MAX_PAYLOAD_BYTES
from byop.engine.isolation import BY_PROCESS, Isolation
from byop.engine.schema_texts import schema_to_text
from byop.engine.worker_logs import LogDrain
from byop.ports.engine import ModelLaunch

_LONGEST_SOCKET_PATH = 100
"""The kernel's limit is 108 bytes (104 on macOS), the ending zero included."""
_OUTPUT_WAIT_S = 0.5


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
        self.isolation = isolation
        output, its_output = os.pipe()
        self.output = output
        try:
            self._popen = subprocess.Popen(  # noqa: S603 - the environment's interpreter, no shell
                [str(launch.python), "-P", worker_main.__file__],
                env=dict(launch.resources.environment),
                stdin=subprocess.PIPE,
                stdout=its_output,
                stderr=its_output,
                pass_fds=[listener.fileno()],
                cwd=_working_directory(launch),
                start_new_session=True,
            )
        except BaseException:
            os.close(output)
            raise
        finally:
            os.close(its_output)
        self.pid = self._popen.pid
        self._lock = threading.Lock()
        self._is_reaped = False
        self._describe(launch, listener.fileno(), max_answer_bytes)

    def watch(
        self, drain: LogDrain, loop: AbstractEventLoop, on_exit: Callable[[int], None]
    ) -> None:
        """Drain the output, and call ``on_exit`` on the loop with the return code at the end."""
        drain.start()
        threading.Thread(
            target=self._wait, args=(drain, loop, on_exit), name="worker-exit", daemon=True
        ).start()

    def kill(self) -> None:
        """End the process and those that it started, at once. Idempotent."""
        with self._lock:
            if not self._is_reaped:
                self._kill_group()

    def describe_end(self, code: int) -> str:
        """Return in words how the process ended. ``code`` is what ``on_exit`` was called with."""
        return describe_exit(code)

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
        self.cut_lifeline()
        drain.join(_OUTPUT_WAIT_S)
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(on_exit, code)

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
                "environment_names": sorted(launch.resources.environment),
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


def _working_directory(launch: ModelLaunch) -> Path:
    return launch.path if launch.path.is_dir() else launch.path.parent
