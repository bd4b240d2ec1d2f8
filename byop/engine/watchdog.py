"""Ends workers that use more than they may, where no cgroup holds their limits.

Source: proc(5), read 2026-11-21. Without ``/proc`` (macOS) nothing is watched.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

Shortage = Literal["memory", "processes"]

_EVERY_S = 0.25
_ROUNDS = 100


class Bounds(NamedTuple):
    """What a worker with all that it started may use; None is not watched."""

    memory_bytes: int | None
    processes: int | None


class Usage(NamedTuple):
    """What a process and all below it use.

    Attributes:
        memory_bytes: Resident; what processes share counts once where the kernel lets this one see.
        processes: Processes and threads.
    """

    memory_bytes: int
    processes: int


class _Watched(NamedTuple):
    bounds: Bounds
    on_shortage: Callable[[Shortage], None]


class Watchdog:
    """One thread that looks after all workers of an engine, and is there only while it must."""

    def __init__(self) -> None:
        self._watched: dict[int, _Watched] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def watch(self, pid: int, bounds: Bounds, on_shortage: Callable[[Shortage], None]) -> None:
        """Call ``on_shortage`` from another thread, again and again, while it is over a bound."""
        if bounds == Bounds(None, None) or not Path("/proc/self/statm").exists():
            return
        with self._changed:
            self._watched[pid] = _Watched(bounds, on_shortage)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)
                self._thread.start()

    def forget(self, pid: int) -> None:
        """Look after this one no more."""
        with self._changed:
            self._watched.pop(pid, None)
            if not self._watched:
                self._changed.notify_all()

    def _run(self) -> None:
        while watched := self._next_round():
            for pid, (bounds, on_shortage) in watched.items():
                shortage = _shortage(pid, bounds)
                if shortage is not None:
                    on_shortage(shortage)

    def _next_round(self) -> dict[int, _Watched]:
        with self._changed:
            self._changed.wait_for(lambda: not self._watched, _EVERY_S)
            if not self._watched:
                self._thread = None
            return dict(self._watched)


def end_tree(pid: int) -> None:
    """Kill all that descends from the process, which itself goes on.

    All are stopped first, so that none can start another meanwhile.
    """
    known: set[int] = set()
    for _ in range(_ROUNDS):
        found = {below for below, _ in _tree(pid)} - {pid}
        for fresh in found - known:
            _send(fresh, signal.SIGSTOP)
        if found <= known:
            break
        known |= found
    for below in known:
        _send(below, signal.SIGKILL)


def measure(pid: int) -> Usage:
    """Return what the process and all below it use; nothing when it is gone."""
    page_bytes = os.sysconf("SC_PAGE_SIZE")
    memory = processes = 0
    for member, threads in _tree(pid):
        memory += _field(f"/proc/{member}/statm", 1) * page_bytes
        processes += threads
    return Usage(memory, processes)


def _shortage(pid: int, bounds: Bounds) -> Shortage | None:
    usage = measure(pid)
    if bounds.processes is not None and usage.processes > bounds.processes:
        return "processes"
    if bounds.memory_bytes is None or usage.memory_bytes <= bounds.memory_bytes:
        return None
    is_over = _proportional_bytes(pid, usage.memory_bytes) > bounds.memory_bytes
    return "memory" if is_over else None


def _proportional_bytes(pid: int, resident_bytes: int) -> int:
    """Return the memory with shared pages counted once: slower, so not looked at before."""
    total = 0
    for member, _ in _tree(pid):
        try:
            told = Path(f"/proc/{member}/smaps_rollup").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        except OSError:  # not ours to see
            return resident_bytes
        total += int(told.partition("\nPss:")[2].split(maxsplit=1)[0]) * 1024
    return total


def _tree(pid: int) -> Iterator[tuple[int, int]]:
    """Yield the process and all below it, each with the number of its threads."""
    pending = [pid]
    while pending:
        member = pending.pop()
        try:
            threads = list(Path(f"/proc/{member}/task").iterdir())
        except OSError:
            continue
        for thread in threads:
            with contextlib.suppress(OSError):
                children = (thread / "children").read_text()
                pending += map(int, children.split())
        yield member, len(threads)


def _field(file: str, index: int) -> int:
    try:
        return int(Path(file).read_text().split()[index])
    except (OSError, IndexError):
        return 0


def _send(pid: int, sent: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, sent)
