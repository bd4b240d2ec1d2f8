"""One replica: a worker that is started again whenever it ends."""

import asyncio
from dataclasses import dataclass
from typing import Protocol

from structlog.typing import FilteringBoundLogger

from byop.domain.deployments import ReplicaStatus, RunStatus
from byop.engine.worker_client import Ready, Worker, WorkerParts
from byop.engine.worker_logs import LogFile
from byop.errors import ModelLoadFailedError


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """When a replica starts again. The first crash after a stable time restarts at once."""

    first_delay_s: float = 0.5
    longest_delay_s: float = 30.0
    loop_crashes: int = 5
    """So many ends in a row without ``stable_s`` in between show as Error."""
    stable_s: float = 60.0
    exit_s: float = 2.0
    """How long a drained worker may take to exit by itself."""

    def delay_s(self, failures: int, *, was_ready: bool) -> float:
        """Return how long to wait after so many failures in a row, at least one."""
        if was_ready and failures == 1:
            return 0.0
        doublings = min(failures - (2 if was_ready else 1), 32)
        return min(self.longest_delay_s, self.first_delay_s * 2.0**doublings)


class ReplicaOwner(Protocol):
    """Who is told what happens to a replica's worker."""

    def worker_ready(self, worker: Worker, ready: Ready) -> None:
        """Take note of a worker that takes requests from now on."""

    def worker_free(self, worker: Worker) -> None:
        """Use a slot that became free."""

    def replica_failed(self) -> None:
        """Take note of a replica that is in Error now."""


class Replica:
    """Keeps one worker running. Runs on the engine's loop; ``status`` is safe from any thread."""

    def __init__(
        self,
        name: str,
        *,
        parts: WorkerParts,
        owner: ReplicaOwner,
        policy: RestartPolicy,
        load_timeout_s: float,
        log_file: LogFile,
        log: FilteringBoundLogger,
    ) -> None:
        """``log_file`` is what the worker prints, ``log`` the server's own."""
        self._name = name
        self._parts = parts
        self._owner = owner
        self._policy = policy
        self._load_timeout_s = load_timeout_s
        self._log_file = log_file
        self._log = log.bind(replica=name)
        self._status = RunStatus.STARTING
        self._reason: str | None = None
        self._restarts = 0
        self._running: Worker | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def running(self) -> Worker | None:
        """The worker, when it takes requests."""
        return self._running

    @property
    def has_failed(self) -> bool:
        """Whether nothing can be expected of it soon."""
        return self._status in (RunStatus.ERROR, RunStatus.STOPPING)

    def status(self) -> ReplicaStatus:
        """Return how it is."""
        return ReplicaStatus(
            name=self._name,
            model_version_id=self._parts.launch.model_version_id,
            status=self._status,
            reason=self._reason,
            restarts=self._restarts,
        )

    def start(self) -> None:
        """Begin to keep a worker running."""
        self._task = asyncio.get_running_loop().create_task(self._supervise())

    async def stop(self) -> None:
        """End the worker, which has no request left that counts, and start none again."""
        if self._status is not RunStatus.STOPPING:
            self._log.info("replica stops", restarts=self._restarts)
        self._status = RunStatus.STOPPING
        worker, self._running = self._running, None
        if worker is not None:
            await worker.drain(exit_s=self._policy.exit_s)
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _supervise(self) -> None:
        failures = 0
        while True:
            end = await self._run_worker()
            if self._status is RunStatus.STOPPING:
                return
            failures = 1 if end.lived_s >= self._policy.stable_s else failures + 1
            self._take_note(end, failures)
            await asyncio.sleep(self._policy.delay_s(failures, was_ready=end.was_ready))
            self._restarts += 1
            self._log.warning("worker restarts", reason=end.reason, restarts=self._restarts)

    def _take_note(self, end: "_End", failures: int) -> None:
        self._reason = end.reason
        event = "worker ended" if end.was_ready else "model was not loaded"
        self._log.warning(event, reason=end.reason, restarts=self._restarts)
        if end.was_ready and failures < self._policy.loop_crashes:
            self._status = RunStatus.STARTING
            return
        if self._status is not RunStatus.ERROR:
            self._log.warning("replica in error", reason=end.reason, restarts=self._restarts)
        self._status = RunStatus.ERROR
        self._owner.replica_failed()

    async def _run_worker(self) -> "_End":
        """Run one worker from start to end."""
        loop = asyncio.get_running_loop()
        worker = Worker(self._parts, self._owner.worker_free)
        self._log.info("worker starts", restarts=self._restarts)
        try:
            await worker.start(self._log_file)
        except (OSError, ValueError) as error:
            return _End(f"the worker could not be started: {error}", 0.0, was_ready=False)
        try:
            try:
                ready = await self._wait_until_ready(worker)
            except ModelLoadFailedError as error:
                return _End(str(error.facts["reason"]), 0.0, was_ready=False)
            started_s = loop.time()
            self._running, self._status, self._reason = worker, RunStatus.RUNNING, None
            self._log.info("replica ready", restarts=self._restarts)
            self._owner.worker_ready(worker, ready)
            reason = await asyncio.shield(worker.ended)
            return _End(reason, loop.time() - started_s, was_ready=True)
        finally:
            self._running = None
            await end_worker(worker)

    async def _wait_until_ready(self, worker: Worker) -> Ready:
        return await wait_until_ready(worker, self._parts, timeout_s=self._load_timeout_s)


@dataclass(frozen=True, slots=True)
class _End:
    reason: str
    lived_s: float
    was_ready: bool


async def wait_until_ready(worker: Worker, parts: WorkerParts, *, timeout_s: float) -> Ready:
    """Return what the worker tells once its model is loaded.

    Raises:
        ModelLoadFailedError: It could not load the model, died, or took too long.
    """
    done, _ = await asyncio.wait([worker.ready], timeout=timeout_s)
    if not done:
        raise ModelLoadFailedError(parts.launch.name, f"was not loaded within {timeout_s:g} s")
    return worker.ready.result()


async def end_worker(worker: Worker) -> None:
    """Kill the worker and wait until its process is gone, even when this task is cancelled."""
    worker.kill("it was stopped")
    await asyncio.shield(worker.ended)
