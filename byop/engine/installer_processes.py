"""The installers that run for all builds, so that a stop of the server can end them."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from byop.engine import supervisor
from byop.engine.installer_sandbox import InstallerSandbox
from byop.errors import ServerStoppingError

_END_S = 5.0
"""How long a supervisor may take to end what it supervises."""


class Finished(NamedTuple):
    """How an installer ended. ``returncode`` is None when it was ended for its time."""

    returncode: int | None
    output: str
    messages: str


class InstallerProcesses:
    """Runs installers, each with all that it starts in bubblewrap or under a supervisor.

    Nothing of it outlives the command, nor this process, even when that is killed. Safe from any
    thread. After ``close`` none runs and none is started.
    """

    def __init__(self, sandbox: InstallerSandbox | None = None) -> None:
        self._sandbox = sandbox
        self._running: set[int] = set()
        self._changed = threading.Condition()
        self._is_closed = False

    def run(
        self, command: Sequence[str], *, cwd: Path, environment: Mapping[str, str], timeout_s: float
    ) -> Finished:
        """Run a command to its end. In the sandbox ``cwd`` is what it can write.

        Raises:
            ServerStoppingError: ``close`` was called before it ended well.
        """
        with self._started(command, cwd, environment) as process:
            try:
                finished = self._wait(process, timeout_s)
            finally:
                with self._changed:
                    self._running.discard(process.pid)
                    self._changed.notify_all()
        if finished.returncode != 0:
            self.refuse_when_closed()
        return finished

    def refuse_when_closed(self, *, wait_s: float = 0.0) -> None:
        """Raise when ``close`` was called, or is called within ``wait_s``.

        Raises:
            ServerStoppingError: As said.
        """
        with self._changed:
            if self._changed.wait_for(lambda: self._is_closed, wait_s):
                raise ServerStoppingError

    def close(self, *, grace_s: float) -> None:
        """End what runs, with SIGKILL where ``grace_s`` was not enough, and start nothing again."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
            for sent in (signal.SIGTERM, signal.SIGKILL):
                for group in self._running:
                    _signal_group(group, sent)
                if self._changed.wait_for(lambda: not self._running, grace_s):
                    return

    @contextmanager
    def _started(
        self, command: Sequence[str], cwd: Path, environment: Mapping[str, str]
    ) -> Iterator["subprocess.Popen[str]"]:
        if self._sandbox is not None:
            enclosed, arguments = self._sandbox.command(
                command, folder=cwd, environment=environment
            )
            try:
                process = self._start(enclosed, cwd, {}, subprocess.DEVNULL, arguments)
            finally:
                os.close(arguments)
            yield process
            return
        its_end, lifeline = os.pipe()
        try:
            watched = [sys.executable, "-I", supervisor.__file__, *command]
            try:
                process = self._start(watched, cwd, environment, its_end)
            finally:
                os.close(its_end)
            yield process
        finally:
            os.close(lifeline)

    def _start(
        self,
        command: Sequence[str],
        cwd: Path,
        environment: Mapping[str, str],
        stdin: int,
        *descriptors: int,
    ) -> "subprocess.Popen[str]":
        with self._changed:  # a process is known before `close` can look
            if self._is_closed:
                raise ServerStoppingError
            process = subprocess.Popen(  # noqa: S603 - an installer of our choice, no shell
                list(command),
                cwd=cwd,
                env=dict(environment),
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,
                pass_fds=descriptors,
            )
            self._running.add(process.pid)
        return process

    def _wait(self, process: "subprocess.Popen[str]", timeout_s: float) -> Finished:
        try:
            output, messages = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            return Finished(None, *self._end(process))
        return Finished(process.returncode, output, messages)

    def _end(self, process: "subprocess.Popen[str]") -> tuple[str, str]:
        if self._sandbox is None:
            _signal_group(process.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.communicate(timeout=_END_S)
        _signal_group(process.pid, signal.SIGKILL)
        return process.communicate()


def _signal_group(group: int, sent: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, sent)
