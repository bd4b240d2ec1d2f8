"""The installers that run for all builds, so that a stop of the server can end them."""

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from byop.errors import ServerStoppingError


class Finished(NamedTuple):
    """How an installer ended. ``returncode`` is None when it was ended for its time."""

    returncode: int | None
    output: str
    messages: str


class InstallerProcesses:
    """Runs installers, each in a process group of its own. Safe from any thread.

    After ``close`` none runs and none is started.
    """

    def __init__(self) -> None:
        self._running: set[int] = set()
        self._changed = threading.Condition()
        self._is_closed = False

    def run(
        self, command: Sequence[str], *, cwd: Path, environment: Mapping[str, str], timeout_s: float
    ) -> Finished:
        """Run a command to its end.

        Raises:
            ServerStoppingError: ``close`` was called before it ended well.
        """
        process = self._start(command, cwd, environment)
        try:
            finished = _wait(process, timeout_s)
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

    def _start(
        self, command: Sequence[str], cwd: Path, environment: Mapping[str, str]
    ) -> subprocess.Popen[str]:
        with self._changed:  # a process is known before `close` can look
            if self._is_closed:
                raise ServerStoppingError
            process = subprocess.Popen(  # noqa: S603 - an installer of our choice, no shell
                list(command),
                cwd=cwd,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,
            )
            self._running.add(process.pid)
        return process


def _wait(process: subprocess.Popen[str], timeout_s: float) -> Finished:
    try:
        output, messages = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        _signal_group(process.pid, signal.SIGKILL)
        return Finished(None, *process.communicate())
    return Finished(process.returncode, output, messages)


def _signal_group(group: int, sent: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, sent)
