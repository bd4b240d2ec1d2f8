"""Virtual environments for models, one per distinct lock."""

import contextlib
import fcntl
import hashlib
import os
import platform
import re
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from byop.bundle.sealed_folders import remove_folder
from byop.domain.models import Framework
from byop.engine.installer_processes import InstallerProcesses
from byop.engine.installer_sandbox import InstallerSandbox, local_places
from byop.engine.installers import (
    BuildLog,
    Installer,
    PackageSources,
    PipInstaller,
    UvInstaller,
    python_of,
)
from byop.engine.isolation import BY_PROCESS, Isolation
from byop.engine.requirement_lines import clean_requirements
from byop.errors import EnvironmentBuildFailedError, RequirementsConflictError
from byop.ports.environments import ModelEnvironment
from byop.settings import Installer as InstallerName
from byop.settings import installer_environment

RUNTIME_CONSTRAINTS = Path(__file__).parent / "runtime-constraints.txt"
BUILD_LOG = "build.log"
LOCK = "requirements.lock"

_RUNTIME = ("numpy", "pyarrow")
_BASE = ("pandas",)
_EXTRA: Mapping[Framework, tuple[str, ...]] = {Framework.ONNX: ("onnxruntime",)}
_WHY_CHARS = 1500
_POLL_S = 0.1
_GRACE_S = 2.0
_BUILD = ".build-"
"""How the names of folders begin in which environments are built."""


class VirtualEnvironments:
    """Implements ``ports.environments.Environments`` with folders below ``root``.

    The same requirement lines keep the lock that they were first resolved to, until ``locks/`` is
    removed: a restart needs no registry, and a deployment does not change under its model.
    Installers get ``environment`` and nothing else of the server's variables, and run in bubblewrap
    where ``isolation`` has it.
    """

    def __init__(
        self,
        *,
        root: Path,
        installer: InstallerName = "uv",
        index_url: str = "",
        find_links: str = "",
        timeout_s: float = 600,
        environment: Mapping[str, str] | None = None,
        isolation: Isolation = BY_PROCESS,
    ) -> None:
        self._root = root.absolute()
        self._sources = PackageSources(index_url, tuple(find_links.split()))
        self._installer_name = installer
        self._installer: Installer = (
            UvInstaller(self._sources) if installer == "uv" else PipInstaller(self._sources)
        )
        self._processes = InstallerProcesses(self._sandbox(isolation))
        self._timeout_s = timeout_s
        self._environment = installer_environment() if environment is None else environment

    def ensure(self, framework: Framework, requirements: Sequence[str]) -> ModelEnvironment:
        """Return the environment for these requirement lines; see the port.

        Raises:
            InvalidBundleError: A line is not a package by name.
        """
        self._processes.refuse_when_closed()
        lines = clean_requirements(requirements)
        runtime = (*_RUNTIME, *_EXTRA.get(framework, ()))
        if not lines and framework is not Framework.ONNX:
            lines = _BASE
        wanted = "".join(f"{line}\n" for line in sorted({*lines, *runtime}))
        log = BuildLog(
            self._root / "logs" / f"{self._request_key(wanted)}.log",
            processes=self._processes,
            environment=self._environment,
            timeout_s=self._timeout_s,
        )
        lock = self._lock_for(wanted, log)
        key = _digest(lock, *_interpreter())
        return self.get(key) or self._build(key, lock, log)

    def get(self, key: str) -> ModelEnvironment | None:
        """Return the built environment of that key."""
        python = python_of(self._root / key)
        is_built = re.fullmatch(r"[0-9a-f]{32}", key) is not None and python.exists()
        return ModelEnvironment(key, python) if is_built else None

    def remove_left_overs(self) -> None:
        """Remove what builds of killed servers left. Builds that run, here or there, are safe."""
        for folder in self._root.glob(f"{_BUILD}*"):
            with contextlib.suppress(OSError):
                descriptor = os.open(folder, os.O_RDONLY)
                try:
                    if _try_to_lock(descriptor):
                        remove_folder(folder)
                finally:
                    os.close(descriptor)

    def close(self) -> None:
        """End the builds that run, and let ``ensure`` raise ServerStoppingError from now on.

        Blocking, for a few seconds at most. Nothing of a build that was broken off is kept.
        """
        self._processes.close(grace_s=_GRACE_S)

    def _sandbox(self, isolation: Isolation) -> InstallerSandbox | None:
        if isolation.bubblewrap is None:
            return None
        sources = " ".join([self._sources.index_url, *self._sources.find_links])
        read = [*local_places(sources), *isolation.allowance.read_paths]
        return InstallerSandbox(isolation.bubblewrap, read)

    def _request_key(self, wanted: str) -> str:
        constraints = RUNTIME_CONSTRAINTS.read_text(encoding="utf-8")
        sources = "\n".join(self._sources.arguments())
        return _digest(wanted, constraints, sources, self._installer_name, *_interpreter())

    def _lock_for(self, wanted: str, log: BuildLog) -> str:
        kept = self._root / "locks" / f"{self._request_key(wanted)}.txt"
        if kept.exists():
            return kept.read_text(encoding="utf-8")
        log.path.unlink(missing_ok=True)
        with self._scratch() as scratch:
            requirements = scratch / "requirements.txt"
            requirements.write_text(wanted, encoding="utf-8")
            try:
                lock = self._installer.resolve(requirements, RUNTIME_CONSTRAINTS, log)
            except EnvironmentBuildFailedError as error:
                raise _as_conflict(str(error.facts["log_tail"])) or error from error
            fresh = scratch / LOCK
            fresh.write_text(lock, encoding="utf-8")
            kept.parent.mkdir(parents=True, exist_ok=True)
            fresh.replace(kept)
        return lock

    def _build(self, key: str, lock: str, log: BuildLog) -> ModelEnvironment:
        with self._only_builder_of(key), self._scratch() as scratch:
            built = self.get(key)
            if built is not None:
                return built
            target = scratch / "environment"
            lock_path = scratch / LOCK
            lock_path.write_text(lock, encoding="utf-8")
            self._installer.build(lock_path, target, log)
            lock_path.replace(target / LOCK)
            shutil.copyfile(log.path, target / BUILD_LOG)
            _make_read_only(target)
            target.rename(self._root / key)
        return ModelEnvironment(key, python_of(self._root / key))

    @contextmanager
    def _only_builder_of(self, key: str) -> Iterator[None]:
        """Wait until no other thread or process builds the key."""
        lock_file = self._root / "locks" / f"{key}.building"
        descriptor = os.open(lock_file, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            while not _try_to_lock(descriptor):
                self._processes.refuse_when_closed(wait_s=_POLL_S)
            yield
        finally:
            os.close(descriptor)

    @contextmanager
    def _scratch(self) -> Iterator[Path]:
        """Give a folder on the file system of the environments, removed afterwards."""
        self._root.mkdir(parents=True, exist_ok=True)
        folder, descriptor = _make_locked_folder(self._root)
        try:
            yield folder
        finally:
            remove_folder(folder)
            os.close(descriptor)


def _make_locked_folder(root: Path) -> tuple[Path, int]:
    """Return a new folder with the descriptor that locks it while its build lives."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_BUILD, dir=root))
        descriptor = os.open(folder, os.O_RDONLY)
        if _try_to_lock(descriptor) and folder.exists():
            return folder, descriptor
        os.close(descriptor)  # another server's start took it for a left-over


def _make_read_only(environment: Path) -> None:
    """Take the right to write from all but the folder itself, which must still be moved."""
    for parent, folders, files in os.walk(environment):
        for name in (*folders, *files):
            path = Path(parent, name)
            if not path.is_symlink():
                path.chmod(path.stat().st_mode & ~0o222)


def _try_to_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _as_conflict(log_tail: str) -> RequirementsConflictError | None:
    """Return the error when the installer's reason involves what the worker itself needs."""
    told = " ".join(log_tail.split())
    for line in RUNTIME_CONSTRAINTS.read_text(encoding="utf-8").splitlines():
        needed = line.partition("#")[0].strip()
        if not needed or needed not in told:
            continue
        package = re.split(r"[=<>!~]", needed)[0]
        others = re.findall(rf"(?<![\w-]){package}\s*[=<>!~][^\s()]*[^\s().,;]", told)
        asked = sorted(set(others) - {needed})
        return RequirementsConflictError(
            f"the requirements do not fit beside the worker runtime, which needs {needed}: "
            f"they ask for {', '.join(asked) or 'another version'}. {told[:_WHY_CHARS]}",
            runtime=needed,
            requirements=asked,
        )
    return None


def _interpreter() -> tuple[str, str]:
    return f"{platform.python_implementation()} {sys.version}", sysconfig.get_platform()


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
