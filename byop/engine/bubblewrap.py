"""Starts programs in namespaces of their own, where bubblewrap works.

Source: bwrap(1) of bubblewrap 0.8, read 2026-11-21. All arguments go through a pipe (``--args``),
so that a command line shows nothing of what is run.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from byop.engine.visible_paths import accelerators, interpreter_paths, system_paths

_PROBE_S = 20.0
_SHM_BYTES = 1024**3
_USER = ("--uid", "1000", "--gid", "1000")


@dataclass(frozen=True, slots=True)
class Sandbox:
    """One program's view of the machine.

    Attributes:
        read: Paths that are there, read-only.
        write: Paths that are there and can be written.
        scratch_bytes: Size of /tmp, which is empty at the start and gone at the end.
        empty: Folders that are there and empty, in memory; ``read`` and ``write`` may lie in them.
        environment: All variables.
    """

    read: Sequence[str]
    write: Sequence[str] = ()
    directory: str = "/tmp"  # noqa: S108 - the sandbox's own
    scratch_bytes: int = 1024**3
    network: bool = True
    empty: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


class BubblewrapUnusableError(Exception):
    """bubblewrap is not there, or cannot make namespaces. The message says why."""


@dataclass(frozen=True, slots=True)
class Bubblewrap:
    """The program, with the options that its version has and this machine allows."""

    program: str
    has_size: bool
    has_user_namespace: bool
    can_forbid_namespaces: bool
    account: str = ""
    """A passwd file for the worker's user; empty: there is none."""

    def command(self, sandbox: Sandbox, command: Sequence[str]) -> tuple[list[str], int]:
        """Return the command line and the descriptor, to pass on and close, that it reads."""
        reader, writer = os.pipe()
        with os.fdopen(writer, "wb") as arguments:
            arguments.write("\0".join(self._arguments(sandbox)).encode() + b"\0")
        return [self.program, "--args", str(reader), *command], reader

    def _arguments(self, sandbox: Sandbox) -> list[str]:
        return [
            *self._namespaces(network=sandbox.network),
            *("--die-with-parent", "--new-session", "--cap-drop", "ALL", "--clearenv"),
            *("--proc", "/proc", "--dev", "/dev"),
            *self._tmpfs("/dev/shm", _SHM_BYTES),  # noqa: S108 - the sandbox's own
            *self._tmpfs("/tmp", sandbox.scratch_bytes),  # noqa: S108 - as above
            *(argument for path in sandbox.empty for argument in ("--tmpfs", path)),
            *_three_times("--dev-bind-try", accelerators()),
            *(argument for path in sandbox.read for argument in _read_only(path, sandbox.read)),
            *(("--ro-bind", self.account, "/etc/passwd") if self.account else ()),
            *_three_times("--bind-try", sandbox.write),
            # /proc: root of this machine may write its settings, also under another number here
            *("--remount-ro", "/proc", "--remount-ro", "/dev", "--remount-ro", "/"),
            *("--chdir", sandbox.directory),
            *(text for pair in sandbox.environment.items() for text in ("--setenv", *pair)),
        ]

    def _namespaces(self, *, network: bool) -> list[str]:
        shared = ["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
        if self.has_user_namespace:
            shared += ["--unshare-user", *_USER]
        if self.can_forbid_namespaces:
            shared += ["--disable-userns"]
        return shared if network else [*shared, "--unshare-net"]

    def _tmpfs(self, path: str, size_bytes: int) -> list[str]:
        return [*(["--size", str(size_bytes)] if self.has_size else []), "--tmpfs", path]


def find_bubblewrap(account: Path | None = None) -> Bubblewrap:
    """Return bubblewrap as it works here, after running an interpreter in it.

    Raises:
        BubblewrapUnusableError: It is not installed, or refuses.
    """
    program = shutil.which("bwrap") if sys.platform == "linux" else None
    if program is None:
        raise BubblewrapUnusableError("bwrap is not installed")
    told = _run([program, "--help"])
    options = set(re.findall(r"--[a-z-]+", told.stdout + told.stderr))
    why = "it told no options"
    for has_user_namespace in (True, False):
        found = Bubblewrap(
            program=program,
            has_size="--size" in options,
            has_user_namespace=has_user_namespace,
            can_forbid_namespaces=has_user_namespace and "--disable-userns" in options,
            account="" if account is None else str(account),
        )
        why = _try(found)
        if not why:
            return found
    raise BubblewrapUnusableError(f"bwrap does not work here: {why}")


def _try(bubblewrap: Bubblewrap) -> str:
    """Return why an interpreter does not start in it, with every option that workers get."""
    python = Path(sys.executable)
    sandbox = Sandbox([*system_paths(), *interpreter_paths(python)], network=False)
    command, descriptor = bubblewrap.command(sandbox, [str(python), "-I", "-S", "-c", ""])
    try:
        finished = _run(command, descriptor)
    finally:
        os.close(descriptor)
    return "" if finished.returncode == 0 else finished.stderr.strip()[-300:] or "it failed"


def _run(command: Sequence[str], *descriptors: int) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(  # noqa: S603 - bubblewrap, no shell
            list(command),
            env={},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PROBE_S,
            pass_fds=descriptors,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BubblewrapUnusableError(f"bwrap does not work here: {error}") from None


def _read_only(path: str, read: Sequence[str]) -> tuple[str, str, str]:
    """Return the mount of one path. A link to what is there too stays one, as /bin to usr/bin."""
    place = Path(path)
    if place.is_symlink() and not any(map(place.is_relative_to, set(read) - {path})):
        target = Path(os.path.normpath(place.parent.resolve() / place.readlink()))
        if any(map(target.is_relative_to, read)):
            return ("--symlink", str(place.readlink()), path)
    return ("--ro-bind-try", path, path)


def _three_times(option: str, paths: Iterable[str]) -> list[str]:
    return [argument for path in paths for argument in (option, path, path)]
