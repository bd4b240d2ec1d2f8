"""A process that starts another and ends everything that came of it.

What bubblewrap's process namespace does, for machines without it: descendants that left their
group and their session are adopted (Linux) and end with the one that was started. Three things end
it: the process itself, SIGTERM, and the end of the lifeline, a pipe that the server holds open.
Run as a program it takes the command as arguments and the lifeline as standard input. Imported
inside workers: standard library only.
"""

import contextlib
import ctypes
import os
import select
import signal
import sys
import time
from pathlib import Path
from typing import NoReturn

_ROUNDS = 100
_PAUSE_S = 0.001
_SIGNALS = (signal.SIGCHLD, signal.SIGTERM)
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def run_supervised(lifeline: int, *, close: int | None = None) -> None:
    """Go on in a new process, which this one supervises until its end.

    Must be called before any thread is started. Returns in the child only, which leads a process
    group of its own; it does not have ``lifeline``, nor the supervisor the descriptor ``close``.
    """
    supervisor = Supervisor()
    parent = os.getpid()
    _control(_PR_SET_CHILD_SUBREAPER, 1)
    child = os.fork()
    if child:
        die_with_parent(signal.SIGTERM)
        if close is not None:
            os.close(close)
        supervisor.watch(child, lifeline)
    supervisor.forget()
    os.close(lifeline)
    os.setpgid(0, 0)
    die_with_parent(signal.SIGKILL)
    if os.getppid() != parent:  # it died before the line above
        os._exit(1)


def die_with_parent(sent: signal.Signals) -> None:
    """Ask Linux for a signal when the parent dies: it works even while C code holds the GIL."""
    _control(_PR_SET_PDEATHSIG, sent)


class Supervisor:
    """Made before the fork, so that no end of the child goes unseen."""

    def __init__(self) -> None:
        self._bell, ringer = os.pipe()
        for descriptor in (self._bell, ringer):
            os.set_blocking(descriptor, False)
        self._ringer = ringer
        self._is_told_to_end = False
        signal.set_wakeup_fd(ringer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._note)

    def forget(self) -> None:
        """Undo it, in the child."""
        signal.set_wakeup_fd(-1)
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        os.close(self._bell)
        os.close(self._ringer)

    def watch(self, child: int, lifeline: int) -> NoReturn:
        """Wait for the end, end all descendants, and end as ``child`` did."""
        poll = select.poll()
        poll.register(self._bell, select.POLLIN)
        poll.register(lifeline, select.POLLIN)
        status = None
        while status is None and not self._is_told_to_end:
            for descriptor, _ in poll.poll():
                if descriptor == lifeline:
                    self._is_told_to_end = not os.read(lifeline, 4096)
                else:
                    os.read(self._bell, 4096)
            status = _reap(child)
        end_descendants(child)
        end_as(signal.SIGKILL if status is None else status)

    def _note(self, *_: object) -> None:
        self._is_told_to_end = True


def _reap(child: int) -> int | None:
    """Wait for whatever has ended; return the status of ``child`` when it is among it."""
    found = None
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            if pid == child:
                found = status
    return found


def end_descendants(group: int) -> None:
    """Stop all that descend from this process, then kill them: a stopped one starts no other."""
    known: set[int] = set()
    for _ in range(_ROUNDS):
        found = set(descendants(os.getpid()))
        for pid in found - known:
            _send(pid, signal.SIGSTOP)
        if found <= known:
            break
        known |= found
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)
    while _has_children():
        for pid in descendants(os.getpid()):
            _send(pid, signal.SIGKILL)
        time.sleep(_PAUSE_S)


def descendants(pid: int) -> list[int]:
    """Return the ids of all processes below ``pid``, as far as /proc tells."""
    found: list[int] = []
    pending = [pid]
    while pending:
        for task in Path(f"/proc/{pending.pop()}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                children = [int(text) for text in task.read_text().split()]
                found += children
                pending += children
    return found


def end_as(status: int) -> NoReturn:
    """End this process as ``status``, of ``waitpid``, tells that another one ended."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        signal.pause()
    os._exit(os.WEXITSTATUS(status))


def _has_children() -> bool:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def _send(pid: int, sent: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, sent)


def _control(option: int, argument: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, argument, 0, 0, 0)


def main() -> None:
    """Run the command in the arguments."""
    lifeline = os.dup(0)
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    run_supervised(lifeline)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # which the interpreter ignores
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606 - what this program is for


if __name__ == "__main__":
    main()
