"""One run of a deployment: a replica set for each of its models."""

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import structlog

from byop.domain.deployments import EngineStatus, RunStatus
from byop.engine.masking import Masker
from byop.engine.replica import RestartPolicy
from byop.engine.replica_set import ReplicaSet
from byop.engine.worker_client import WorkerParts, WorkerSettings
from byop.engine.worker_logs import LogRing
from byop.ports.engine import DeploymentLaunch

_UNSAFE_IN_FILE_NAMES = re.compile(r"[^A-Za-z0-9_.-]|^\.+")
_log = structlog.get_logger(__name__)


class RunSettings(NamedTuple):
    """What the engine gives to every run."""

    workers: WorkerSettings
    log_dir: Path
    load_timeout_s: float
    queue_limit: int
    policy: RestartPolicy


class DeploymentRun:
    """Starts, stops and describes the replica sets of one launch."""

    def __init__(
        self,
        launch: DeploymentLaunch,
        settings: RunSettings,
        *,
        on_running: Callable[["DeploymentRun"], None],
    ) -> None:
        self._on_running = on_running
        self._was_running = False
        self._isolation = settings.workers.isolation.level
        log_dir = settings.log_dir / file_name(launch.name)
        self.sets = {
            model.model_version_id: ReplicaSet(
                WorkerParts(
                    launch=model,
                    masker=Masker(model.resources.environment),
                    ring=LogRing(),
                    settings=settings.workers,
                ),
                replica_count=launch.replica_count,
                queue_limit=settings.queue_limit,
                load_timeout_s=settings.load_timeout_s,
                policy=settings.policy,
                log_dir=log_dir,
                on_running=self._note_running,
                log=_log.bind(deployment=launch.name),
            )
            for model in launch.models
        }

    @property
    def is_running(self) -> bool:
        """Whether every model has a running replica."""
        return all(found.status is RunStatus.RUNNING for found in self.sets.values())

    def start(self) -> None:
        """Start every replica set."""
        for replica_set in self.sets.values():
            replica_set.start()
        self._note_running()

    async def stop(self, *, drain_s: float) -> None:
        """Drain and end every replica set."""
        await asyncio.gather(*(found.stop(drain_s=drain_s) for found in self.sets.values()))

    def status(self) -> EngineStatus:
        """Return the state of every replica and of the whole."""
        statuses = {found.status for found in self.sets.values()}
        overall = RunStatus.RUNNING
        for status in (RunStatus.ERROR, RunStatus.STOPPING, RunStatus.STARTING):
            if status in statuses:
                overall = status
                break
        replicas = [r.status() for found in self.sets.values() for r in found.replicas]
        return EngineStatus(
            status=overall,
            replicas=tuple(replicas),
            details=tuple(f"{r.name}: {r.reason}" for r in replicas if r.reason is not None),
            isolation=self._isolation,
        )

    def _note_running(self) -> None:
        if not self._was_running and self.is_running:
            self._was_running = True
            self._on_running(self)


def file_name(text: str) -> str:
    """Return the text as one harmless component of a path."""
    return _UNSAFE_IN_FILE_NAMES.sub("_", text)[:150]
