"""Memory, CPU and number of processes of a worker, held by the kernel where cgroups are writable.

Sources: the kernel's Documentation/admin-guide/cgroup-v1/ and cgroup-v2.rst, read 2026-11-21.
Both versions, also side by side: each controller is looked for where this machine has it.
"""

import contextlib
import os
import secrets
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

_CONTROLLERS = ("memory", "cpu", "pids")
_PERIOD_US = 100_000
_EMPTY_WITHIN_S = 1.0
_POLL_S = 0.005
_FORGOTTEN_S = 600.0


class CgroupsUnusableError(Exception):
    """No controller can be used. The message says why."""


class Limits(NamedTuple):
    """What a worker may use; None is not limited."""

    memory_bytes: int | None
    cpus: float | None
    processes: int | None


class _Place(NamedTuple):
    folder: Path
    is_v2: bool


@dataclass(frozen=True, slots=True)
class WorkerGroup:
    """The cgroups of one worker: where each controller is."""

    places: dict[str, _Place]

    @property
    def folders(self) -> list[Path]:
        """The folders of the group, each once."""
        return list(dict.fromkeys(place.folder for place in self.places.values()))

    @property
    def doors(self) -> list[Path]:
        """The files by which a process of one thread joins: it writes 0 to each.

        Version 1 lets a single thread in without a lock of the whole machine, which takes 10 ms
        and more where nobody has taken it for a while; version 2 has no such door.
        """
        doors = [p.folder / ("cgroup.procs" if p.is_v2 else "tasks") for p in self.places.values()]
        return list(dict.fromkeys(doors))

    def was_out_of_memory(self) -> bool:
        """Whether the kernel has killed a process of the group for its memory."""
        place = self.places.get("memory")
        if place is None:
            return False
        file = "memory.events" if place.is_v2 else "memory.oom_control"
        return _counter(place.folder / file, "oom_kill") > 0

    def was_out_of_processes(self) -> bool:
        """Whether a fork failed for the limit of processes and threads."""
        place = self.places.get("pids")
        return place is not None and _counter(place.folder / "pids.events", "max") > 0

    def kill(self) -> None:
        """Send SIGKILL to every process of the group."""
        for folder in self.folders:
            with contextlib.suppress(OSError):
                (folder / "cgroup.kill").write_text("1")
                continue
            for pid in _members(folder):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)

    def remove(self) -> None:
        """Kill what is left and remove the group. Blocking, for a second at most."""
        ends_s = time.monotonic() + _EMPTY_WITHIN_S
        while self._is_busy() and time.monotonic() < ends_s:
            self.kill()
            time.sleep(_POLL_S)

    def _is_busy(self) -> bool:
        return [folder for folder in self.folders if not _is_removed(folder)] != []


class ControlGroups:
    """Makes the groups of one server's workers, below the server's own.

    ``name`` tells servers apart and stays the same when one starts again: the groups that a
    killed one left are ended and removed.
    """

    def __init__(self, name: str) -> None:
        """Take what controllers there are.

        Raises:
            CgroupsUnusableError: There is none that this process may use.
        """
        self._parents: dict[str, _Place] = {}
        reasons = []
        for controller, place in _places_of_this_process().items():
            parent = place.folder / f"byop-{name}"
            try:
                if place.is_v2:
                    _delegate(place.folder, controller)
                parent.mkdir(exist_ok=True)
                if place.is_v2:
                    _enable(parent, controller)
                _remove_left_overs(parent)
                _remove_forgotten(place.folder)
            except OSError as error:
                reasons.append(f"{controller}: {error.strerror}")
                continue
            self._parents[controller] = _Place(parent, place.is_v2)
        if not self._parents:
            raise CgroupsUnusableError("; ".join(reasons) or "there are no cgroups")

    @property
    def controllers(self) -> frozenset[str]:
        """What can be limited."""
        return frozenset(self._parents)

    def make(self, limits: Limits) -> WorkerGroup:
        """Return a new group with these limits.

        Raises:
            OSError: The kernel refuses a limit.
        """
        name = f"worker-{secrets.token_hex(6)}"
        group = WorkerGroup(
            {
                controller: _Place(parent.folder / name, parent.is_v2)
                for controller, parent in self._parents.items()
            }
        )
        try:
            for folder in group.folders:
                folder.mkdir()
            for controller, place in group.places.items():
                for file, value in _settings(controller, limits, is_v2=place.is_v2):
                    (place.folder / file).write_text(value)
        except OSError:
            group.remove()
            raise
        return group

    def close(self) -> None:
        """Remove what this object made, with the processes in it."""
        for parent in self._parents.values():
            _remove_left_overs(parent.folder)
            with contextlib.suppress(OSError):
                parent.folder.rmdir()


def _settings(controller: str, limits: Limits, *, is_v2: bool) -> Iterator[tuple[str, str]]:
    """Yield the files of a controller and what to write into them."""
    memory, cpus, processes = limits
    match controller:
        case "memory" if memory is not None and is_v2:
            yield from (("memory.max", f"{memory}"), ("memory.oom.group", "1"))
        case "memory" if memory is not None:
            yield ("memory.limit_in_bytes", f"{memory}")
        case "cpu" if cpus is not None and is_v2:
            yield ("cpu.max", f"{_quota(cpus)} {_PERIOD_US}")
        case "cpu" if cpus is not None:
            yield from (("cpu.cfs_period_us", f"{_PERIOD_US}"), ("cpu.cfs_quota_us", _quota(cpus)))
        case "pids" if processes is not None:
            yield ("pids.max", f"{processes}")
        case _:
            return


def _quota(cpus: float) -> str:
    return str(max(1000, int(cpus * _PERIOD_US)))


def _places_of_this_process() -> dict[str, _Place]:
    """Return the folder of each controller in which this process is."""
    mounts = list(_mounts())
    found: dict[str, _Place] = {}
    for line in _lines(Path("/proc/self/cgroup")):
        _, names, own = line.split(":", 2)
        for mount in mounts:
            if mount.is_v2 != (not names):
                continue
            folder = mount.of(own)
            offered = (
                _lines(folder / "cgroup.controllers")[0].split()
                if mount.is_v2 and _lines(folder / "cgroup.controllers")
                else names.split(",")
            )
            for name in _CONTROLLERS:
                if name in offered and (mount.is_v2 or name in mount.options):
                    found.setdefault(name, _Place(folder, mount.is_v2))
    return found


class _Mount(NamedTuple):
    root: str
    point: Path
    options: frozenset[str]
    is_v2: bool

    def of(self, own: str) -> Path:
        """Return the folder of the cgroup ``own``; a container may see only a part of the tree."""
        with contextlib.suppress(ValueError):
            return self.point / Path(own).relative_to(self.root)
        return self.point


def _mounts() -> Iterator[_Mount]:
    for line in _lines(Path("/proc/self/mountinfo")):
        left, _, right = line.partition(" - ")
        kind, _, options = right.split(" ", 2)
        if kind in ("cgroup", "cgroup2"):
            _, _, _, root, point, *_ = left.split(" ")
            yield _Mount(root, Path(point), frozenset(options.split(",")), kind == "cgroup2")


def _delegate(folder: Path, controller: str) -> None:
    """Let the version 2 folder hand the controller down, with this process in a leaf of its own.

    A folder with processes in it cannot, and only this process is ours to move.
    """
    if controller in (folder / "cgroup.subtree_control").read_text().split():
        return
    members = set(_members(folder))
    if members and members <= {os.getpid()}:
        leaf = folder / "byop-server"
        leaf.mkdir(exist_ok=True)
        (leaf / "cgroup.procs").write_text(str(os.getpid()))
    _enable(folder, controller)


def _enable(folder: Path, controller: str) -> None:
    (folder / "cgroup.subtree_control").write_text(f"+{controller}")


def _remove_left_overs(parent: Path) -> None:
    for folder in parent.glob("worker-*"):
        WorkerGroup({"pids": _Place(folder, is_v2=(folder / "cgroup.kill").exists())}).remove()


def _is_removed(folder: Path) -> bool:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:  # something in it still runs
        return False
    return True


def _remove_forgotten(folder: Path) -> None:
    """Remove old, empty groups of servers that were killed and did not start again."""
    oldest_s = time.time() - _FORGOTTEN_S
    for group in (*folder.glob("byop-*/worker-*"), *folder.glob("byop-*")):
        with contextlib.suppress(OSError):
            if group.stat().st_mtime < oldest_s:
                group.rmdir()


def _members(folder: Path) -> list[int]:
    return [int(line) for line in _lines(folder / "cgroup.procs")]


def _counter(file: Path, name: str) -> int:
    for line in _lines(file):
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    return 0


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text().splitlines()
    except OSError:
        return []
