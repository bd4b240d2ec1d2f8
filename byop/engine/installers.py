"""The programs that resolve and install packages: uv, or pip by setting."""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import uv

from byop.engine import compile_packages
from byop.engine.installer_processes import InstallerProcesses
from byop.errors import EnvironmentBuildFailedError

_LOG_TAIL_CHARS = 4000
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+@")


@dataclass(frozen=True, slots=True)
class PackageSources:
    """Where packages come from. Empty: where the installer looks by itself."""

    index_url: str = ""
    find_links: tuple[str, ...] = ()

    def arguments(self) -> list[str]:
        """Return them as both installers spell them."""
        given = [f"--index-url={self.index_url}"] if self.index_url else []
        return given + [f"--find-links={place}" for place in self.find_links]


class BuildLog:
    """Runs the commands of one build and keeps what they print, without credentials of URLs."""

    def __init__(
        self,
        path: Path,
        *,
        processes: InstallerProcesses,
        environment: Mapping[str, str],
        timeout_s: float,
    ) -> None:
        self.path = path
        self._processes = processes
        self._environment = dict(environment)
        self._timeout_s = timeout_s

    def run(self, command: Sequence[str], *, cwd: Path, why: str) -> str:
        """Run a command and return its standard output.

        Raises:
            EnvironmentBuildFailedError: It failed (``why``), or the build takes too long.
            ServerStoppingError: The server stops.
        """
        finished = self._processes.run(
            command, cwd=cwd, environment=self._environment, timeout_s=self._timeout_s
        )
        messages = finished.messages
        if finished.returncode is None:
            why = f"the environment was not built within {self._timeout_s:g} s"
        if finished.returncode != 0:
            messages = (
                f"{finished.output}{messages}"  # pip tells the reason of a conflict on stdout
            )
        self._append(command, messages)
        if finished.returncode != 0:
            raise EnvironmentBuildFailedError(why, _hide(messages)[-_LOG_TAIL_CHARS:].strip())
        return finished.output

    def _append(self, command: Sequence[str], messages: str) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as log:
            log.write(_hide(f"$ {' '.join(command)}\n{messages}"))


class Installer(Protocol):
    """Two steps: requirements to a lock, a lock to an environment."""

    def resolve(self, requirements: Path, constraints: Path, log: BuildLog) -> str:
        """Return the lock: every package with version and hashes, one requirement per package.

        Raises:
            EnvironmentBuildFailedError: There is no solution, or no way to find one.
        """

    def build(self, lock: Path, target: Path, log: BuildLog) -> None:
        """Make an environment at ``target`` that holds exactly the lock.

        Raises:
            EnvironmentBuildFailedError: The installer failed.
        """


class UvInstaller:
    """uv: fast, with its own cache. It reads no configuration file, only UV_ variables."""

    def __init__(self, sources: PackageSources) -> None:
        self._sources = sources
        self._uv = [uv.find_uv_bin(), "--no-config", "--no-progress", "--color=never"]

    def resolve(self, requirements: Path, constraints: Path, log: BuildLog) -> str:
        """Return the lock of ``uv pip compile``."""
        command = [
            *self._uv, "pip", "compile", str(requirements), "--constraints", str(constraints),
            "--python", sys.executable, "--generate-hashes", "--no-header", "--no-annotate",
            "--quiet", *self._sources.arguments(),
        ]  # fmt: skip
        return log.run(command, cwd=requirements.parent, why="the requirements were not resolved")

    def build(self, lock: Path, target: Path, log: BuildLog) -> None:
        """Make the environment. Files are copied: linked ones would be shared between models."""
        why = "the environment was not built"
        make = [*self._uv, "venv", "--python", sys.executable, "--relocatable", str(target)]
        log.run(make, cwd=lock.parent, why=why)
        command = [
            *self._uv, "pip", "sync", str(lock), "--python", str(python_of(target)),
            "--link-mode", "copy", "--require-hashes", *self._sources.arguments(),
        ]  # fmt: skip
        log.run(command, cwd=lock.parent, why=why)
        _compile(target, log)


class PipInstaller:
    """pip, from the standard library's venv: slower, and nothing but Python is needed."""

    def __init__(self, sources: PackageSources) -> None:
        self._sources = sources

    def resolve(self, requirements: Path, constraints: Path, log: BuildLog) -> str:
        """Return the lock that a dry run of ``pip install`` reports."""
        scratch = requirements.parent / "resolver"
        self._make(scratch, log)
        report = requirements.parent / "report.json"
        command = [
            *self._pip(scratch), "install", "--dry-run", "--ignore-installed",
            "--report", str(report), "--requirement", str(requirements),
            "--constraint", str(constraints), *self._sources.arguments(),
        ]  # fmt: skip
        log.run(command, cwd=requirements.parent, why="the requirements were not resolved")
        installs = json.loads(report.read_text(encoding="utf-8"))["install"]
        return "".join(sorted(_locked(install) for install in installs))

    def build(self, lock: Path, target: Path, log: BuildLog) -> None:
        """Make the environment, pip itself included."""
        self._make(target, log)
        command = [
            *self._pip(target), "install", "--no-deps", "--require-hashes", "--quiet",
            "--no-compile", "--requirement", str(lock), *self._sources.arguments(),
        ]  # fmt: skip
        log.run(command, cwd=lock.parent, why="the environment was not built")
        _compile(target, log)

    def _make(self, target: Path, log: BuildLog) -> None:
        command = [sys.executable, "-m", "venv", str(target)]
        log.run(command, cwd=target.parent, why="the environment was not made")

    def _pip(self, environment: Path) -> list[str]:
        return [
            str(python_of(environment)), "-m", "pip", "--disable-pip-version-check", "--no-input",
            "--no-color",
        ]  # fmt: skip


def python_of(environment: Path) -> Path:
    """Return the environment's interpreter."""
    return environment / "bin" / "python"


def _compile(environment: Path, log: BuildLog) -> None:
    """Compile the packages, in half the time that the installers take: without their tests."""
    command = [str(python_of(environment)), "-I", compile_packages.__file__, str(environment)]
    log.run(command, cwd=environment.parent, why="the environment was not compiled")


def _locked(install: Mapping[str, object]) -> str:
    """Return the lock line of one entry of pip's installation report (pip docs, report format)."""
    metadata = install["metadata"]
    download = install["download_info"]
    if not isinstance(metadata, dict) or not isinstance(download, dict):
        raise EnvironmentBuildFailedError("pip's installation report cannot be read", "")
    hashes = download.get("archive_info", {}).get("hashes", {})
    name, version = metadata["name"], metadata["version"]
    if install.get("is_direct"):
        name, version = f"{name} @ {download['url']}", ""
    pinned = f"{name}=={version}" if version else str(name)
    options = "".join(f" --hash={kind}:{digest}" for kind, digest in sorted(hashes.items()))
    return f"{pinned}{options}\n"


def _hide(text: str) -> str:
    return _CREDENTIALS.sub("****@", text)
