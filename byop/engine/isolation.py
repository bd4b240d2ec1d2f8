"""How workers are kept apart from the server, from each other and from the machine."""

import contextlib
import hashlib
import itertools
import math
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from byop.domain.deployments import ModelResources
from byop.engine import landlock, worker_main
from byop.engine.bubblewrap import Bubblewrap, BubblewrapUnusableError, Sandbox, find_bubblewrap
from byop.engine.cgroups import CgroupsUnusableError, ControlGroups, Limits, WorkerGroup
from byop.engine.visible_paths import accelerators, interpreter_paths, system_paths
from byop.engine.watchdog import Bounds, Watchdog
from byop.errors import SettingsInvalidError
from byop.ports.engine import ModelLaunch
from byop.settings import CgroupsMode, IsolationMode, Settings

Level = Literal["bubblewrap", "landlock", "process"]

_GIB = 1024**3
_ROOM_FOR_ADDRESSES = 2 * _GIB
"""Libraries reserve addresses that they never use: 1.4 GiB in a worker that has done nothing."""
_OPEN_FILES = 4096
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_JOIN = 'for door in {doors}; do echo 0 > "$door" || exit 1; done; exec "$@"'
_ACCOUNT = "model:x:1000:1000:a model's worker:/tmp:/bin/sh\n"


@dataclass(frozen=True, slots=True)
class Allowance:
    """What every worker of one engine may use beside its deployment's limits.

    Attributes:
        network: Whether it may connect to anything.
        processes: Processes and threads of one worker.
        scratch_bytes: Size of its scratch folder, or of one file where a folder has no size.
        read_paths: What it can read beside the system, its environment and its model.
        write_paths: What it can write beside its scratch folder; shared by all workers.
    """

    network: bool = True
    processes: int = 1024
    scratch_bytes: int = _GIB
    read_paths: Sequence[str] = ()
    write_paths: Sequence[str] = ()

    @classmethod
    def from_settings(cls, settings: Settings) -> "Allowance":
        """Return what the operator allows."""
        return cls(
            network=settings.worker_network == "on",
            processes=settings.worker_processes,
            scratch_bytes=settings.worker_scratch_bytes,
            read_paths=[path for path in settings.worker_read_paths.split(os.pathsep) if path],
            write_paths=[path for path in settings.worker_write_paths.split(os.pathsep) if path],
        )


@dataclass(frozen=True, slots=True)
class Confinement:
    """One worker's: what to start, what to tell it, and what to remove when it has ended.

    Attributes:
        descriptors: To pass on, and to close once the process is started.
        told: The worker's own part, for its description.
        defaults: Variables that hold where the deployment gives none.
    """

    command: list[str]
    directory: Path
    descriptors: tuple[int, ...]
    told: Mapping[str, object]
    defaults: Mapping[str, str]
    group: WorkerGroup | None
    scratch: Path | None

    def close_descriptors(self) -> None:
        """Close this process's copies."""
        for descriptor in self.descriptors:
            os.close(descriptor)

    def remove(self) -> None:
        """End what the worker left running and remove its files. Blocking."""
        if self.group is not None:
            self.group.remove()
        if self.scratch is not None:
            shutil.rmtree(self.scratch, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class Isolation:
    """What every worker of one engine is started under, decided once.

    Attributes:
        level: The strongest layer in use.
        reason: Why it is not bubblewrap; empty when it is.
        scratch_root: Where scratch folders lie; bubblewrap needs none.
        groups: None where cgroups cannot be written.
        watchdog: Holds the limits that cgroups do not.
    """

    level: Level
    reason: str = ""
    allowance: Allowance = field(default_factory=Allowance)
    scratch_root: Path | None = None
    bubblewrap: Bubblewrap | None = None
    groups: ControlGroups | None = None
    watchdog: Watchdog = field(default_factory=Watchdog)
    _next_cpu: "itertools.count[int]" = field(default_factory=itertools.count)

    @property
    def is_supervised(self) -> bool:
        """Whether the started process is a supervisor, which SIGTERM ends with all below it."""
        return self.bubblewrap is None

    @property
    def controllers(self) -> frozenset[str]:
        """Which limits cgroups hold, of memory, cpu and pids."""
        return frozenset() if self.groups is None else self.groups.controllers

    def bounds(self, resources: ModelResources) -> Bounds:
        """Return what no cgroup holds of a worker's limits, for the watchdog."""
        held = self.controllers
        return Bounds(
            memory_bytes=None if "memory" in held else resources.memory_bytes,
            processes=None if "pids" in held else self.allowance.processes,
        )

    def confine(self, launch: ModelLaunch) -> Confinement:
        """Return how to start a worker.

        Raises:
            OSError: A folder or a cgroup cannot be made.
        """
        resources = launch.resources
        group = None if self.groups is None else self.groups.make(self._limits(resources))
        scratch = None
        try:
            scratch = self._make_scratch()
            command, *descriptors = self._command(launch)
        except BaseException:
            if group is not None:
                group.remove()
            raise
        return Confinement(
            command=_joining(group, command),
            directory=Path("/") if self.bubblewrap else _directory(launch),
            descriptors=tuple(descriptors),
            told=self._told(launch, scratch),
            defaults=_defaults(scratch),
            group=group,
            scratch=scratch,
        )

    def with_scratch(self, root: Path) -> "Isolation":
        """Return this one with a place for scratch folders, if it needs one and has none."""
        if self.bubblewrap is not None or self.scratch_root is not None:
            return self
        shutil.rmtree(root, ignore_errors=True)  # what a killed server left
        root.mkdir(mode=0o700, parents=True)
        return replace(self, scratch_root=root)

    def close(self) -> None:
        """Remove what all workers shared."""
        if self.groups is not None:
            self.groups.close()
        if self.scratch_root is not None:
            shutil.rmtree(self.scratch_root, ignore_errors=True)

    def _limits(self, resources: ModelResources) -> Limits:
        return Limits(resources.memory_bytes, resources.cpus, self.allowance.processes)

    def _make_scratch(self) -> Path | None:
        if self.bubblewrap is not None:
            return None
        if self.scratch_root is None:
            return Path(tempfile.mkdtemp(prefix="byop-"))
        scratch = self.scratch_root / secrets.token_hex(6)
        scratch.mkdir(mode=0o700)
        return scratch

    def _command(self, launch: ModelLaunch) -> tuple[list[str], *tuple[int, ...]]:
        command = [str(launch.python), "-P", worker_main.__file__]
        if self.bubblewrap is None:
            return (command,)
        sandbox = Sandbox(
            read=self._readable(launch),
            write=self.allowance.write_paths,
            directory=str(_directory(launch)),
            scratch_bytes=self.allowance.scratch_bytes,
            network=self.allowance.network,
        )
        return self.bubblewrap.command(sandbox, command)

    def _readable(self, launch: ModelLaunch) -> list[str]:
        package = Path(worker_main.__file__).parent.parent
        return [
            *system_paths(),
            *interpreter_paths(launch.python, hidden=self._hidden),
            str(package),
            str(launch.path),
            *self.allowance.read_paths,
        ]

    @property
    def _hidden(self) -> list[Path]:
        """What no interpreter may bring along: this server's own folder."""
        return [] if self.scratch_root is None else [self.scratch_root]

    def _told(self, launch: ModelLaunch, scratch: Path | None) -> dict[str, object]:
        held = self.controllers
        return {
            "is_supervised": self.is_supervised,
            "cpus": [] if "cpu" in held else self._cpus(launch.resources.cpus),
            "limits": self._resource_limits(launch.resources, scratch, held),
            "landlock": self._landlock(launch, scratch) if self.level == "landlock" else None,
            "has_shared_sockets": self.level == "bubblewrap",
        }

    def _resource_limits(
        self, resources: ModelResources, scratch: Path | None, held: frozenset[str]
    ) -> dict[str, int]:
        limits = {"core": 0, "open_files": _OPEN_FILES}
        if scratch is not None:
            limits["file_bytes"] = self.allowance.scratch_bytes
        if "memory" not in held and resources.memory_bytes is not None:
            limits["address_space_bytes"] = resources.memory_bytes + _ROOM_FOR_ADDRESSES
        return limits

    def _landlock(self, launch: ModelLaunch, scratch: Path | None) -> dict[str, object]:
        devices = [f"/dev/{name}" for name in _DEVICES]
        return {
            "read": [*self._readable(launch), "/proc", "/sys/devices/system"],
            "write": [str(scratch), *devices, *accelerators(), *self.allowance.write_paths],
            "tcp": self.allowance.network,
        }

    def _cpus(self, wanted: float | None) -> list[int]:
        """Return as many CPUs as the limit rounded up: the next ones, so that workers spread."""
        if wanted is None or sys.platform != "linux":
            return []
        usable = sorted(os.sched_getaffinity(0))
        count = min(len(usable), max(1, math.ceil(wanted)))
        first = next(self._next_cpu) * count
        return [usable[(first + n) % len(usable)] for n in range(count)]


BY_PROCESS = Isolation("process", "this engine was given no isolation")
"""A process that is supervised, and limits: for engines that were not told."""


def open_isolation(
    mode: IsolationMode, *, allowance: Allowance, root: Path, cgroups: CgroupsMode = "auto"
) -> Isolation:
    """Return the strongest isolation that works here; ``root`` is this server's own folder.

    Ends what workers of a killed server, on the same ``root``, have left.

    Raises:
        SettingsInvalidError: What was asked for does not work here.
    """
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(mode=0o700, parents=True)
    groups = None if cgroups == "off" else _find_groups(root)
    reason = "BYOP_ISOLATION is process"
    if mode != "process":
        account = root / "passwd"
        account.write_text(_ACCOUNT)
        try:
            found = find_bubblewrap(account)
            return Isolation("bubblewrap", "", allowance, root, found, groups)
        except BubblewrapUnusableError as error:
            reason = str(error)
    if mode == "required":
        raise SettingsInvalidError(
            "BYOP_ISOLATION", f"{reason}. Install bubblewrap, or set it to auto or process"
        )
    version = landlock.version()
    if not allowance.network and version < landlock.TCP_IS_HANDLED_FROM:
        raise SettingsInvalidError(
            "BYOP_WORKER_NETWORK", f"off needs bubblewrap or landlock 4, and {reason}"
        )
    level: Level = "landlock" if version else "process"
    return Isolation(level, reason, allowance, root, None, groups)


def _find_groups(root: Path) -> ControlGroups | None:
    name = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16]
    with contextlib.suppress(CgroupsUnusableError):
        return ControlGroups(name)
    return None


def _joining(group: WorkerGroup | None, command: list[str]) -> list[str]:
    """Return the command so that its process and all that it starts are born in the group."""
    if group is None:
        return command
    doors = " ".join(f"'{door}'" for door in group.doors)
    return ["/bin/sh", "-c", _JOIN.format(doors=doors), "sh", *command]


def _directory(launch: ModelLaunch) -> Path:
    return launch.path if launch.path.is_dir() else launch.path.parent


def _defaults(scratch: Path | None) -> dict[str, str]:
    """Return the variables by which libraries find a folder that they can write."""
    if scratch is None:
        return {"HOME": "/tmp"}  # noqa: S108 - the sandbox's own
    return {"HOME": str(scratch), "TMPDIR": str(scratch)}
