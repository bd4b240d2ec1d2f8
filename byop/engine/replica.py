"""One replica: a worker that is started again whenever it ends."""

import asyncio
from collections import deque
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from structlog.typing import FilteringBoundLogger

from byop.domain.deployments import ReplicaStatus, RunStatus
from byop.engine.worker_answers import Ready
from byop.engine.worker_client import Worker, WorkerParts
from byop.engine.worker_logs import LogFile
from byop.errors import ModelLoadFailedError


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """When a replica starts again. The first crash after a stable time restarts at once."""

    first_delay_s: float = 0.5
    longest_delay_s: float = 30.0
    loop_crashes: int = 5
    """So many ends within ``loop_s`` are a crash loop, which shows as Error."""
    loop_s: float = 60.0
    """Counted while a worker is up: neither loading nor waiting for the next start hides a loop."""
    stable_s: float = 60.0
    """A worker that is up for so long ends a crash loop, and the next end counts as the first."""
    exit_s: float = 2.0
    """How long a drained worker may take to exit by itself."""
    ping_interval_s: float = 15.0
    """An idle worker is asked so often whether it answers; one that has not by then is ended."""

    def delay_s(self, failures: int, *, was_ready: bool) -> float:
        """Return how long to wait after so many failures in a row, at least one."""
        if was_ready and failures == 1:
            return 0.0
        doublings = min(failures - (2 if was_ready else 1), 32)
        return min(self.longest_delay_s, self.first_delay_s * 2.0**doublings)


@dataclass(frozen=True, slots=True)
class WorkerEnd:
    """Why a worker is gone; ``lived_s`` counts from when it was ready."""

    reason: str
    lived_s: float
    was_ready: bool


class WorkerEnds:
    """What a replica remembers of its workers' ends."""

    def __init__(self, policy: RestartPolicy) -> None:
        self._policy = policy
        self._in_a_row = 0
        self._lives_s: deque[float] = deque(maxlen=policy.loop_crashes)
        self.is_loop = False
        """Whether so many came so soon that the replica counts as failed."""

    def add(self, end: WorkerEnd) -> None:
        """Take note of an end. One before the worker was ready shows by itself: it is no crash."""
        policy = self._policy
        self._in_a_row = 1 if end.lived_s >= policy.stable_s else self._in_a_row + 1
        if end.was_ready:
            self._lives_s.append(end.lived_s)
            is_full = len(self._lives_s) == policy.loop_crashes
            between_s = sum(islice(self._lives_s, 1, None))
            self.is_loop = self.is_loop or (is_full and between_s <= policy.loop_s)

    def forget(self) -> None:
        """Begin anew, because a worker is stable."""
        self._in_a_row = 0
        self._lives_s.clear()
        self.is_loop = False

    def delay_s(self, *, was_ready: bool) -> float:
        """Return how long to wait before the next start."""
        return self._policy.delay_s(self._in_a_row, was_ready=was_ready)


class ReplicaOwner(Protocol):
    """Who is told what happens to a replica's worker."""

    def worker_ready(self, worker: Worker, ready: Ready) -> None:
        """Take note of a worker that takes requests from now on."""

    def worker_free(self, worker: Worker) -> None:
        """Use a slot that became free."""

    def replica_failed(self) -> None:
        """Take note of a replica that is in Error now and has no worker."""

    def replica_recovered(self) -> None:
        """Take note of a replica that was in Error and is Running again."""


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
        self._ends = WorkerEnds(policy)
        self._last_end: str | None = None
        self._running: Worker | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def running(self) -> Worker | None:
        """The worker, when it takes requests."""
        return self._running

    @property
    def has_failed(self) -> bool:
        """Whether nothing can be expected of it soon."""
        return self._running is None and self._status in (RunStatus.ERROR, RunStatus.STOPPING)

    def status(self) -> ReplicaStatus:
        """Return how it is."""
        return ReplicaStatus(
            name=self._name,
            model_version_id=self._parts.launch.model_version_id,
            status=self._status,
            reason=self._reason,
            restarts=self._restarts,
            last_end=self._last_end,
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
        while True:
            end = await self._run_worker()
            if self._status is RunStatus.STOPPING:
                return
            self._ends.add(end)
            self._take_note(end)
            await asyncio.sleep(self._ends.delay_s(was_ready=end.was_ready))
            self._restarts += 1
            self._log.warning("worker restarts", reason=end.reason, restarts=self._restarts)

    def _take_note(self, end: WorkerEnd) -> None:
        self._reason = self._last_end = end.reason
        event = "worker ended" if end.was_ready else "model was not loaded"
        self._log.warning(event, reason=end.reason, restarts=self._restarts)
        if end.was_ready and not self._ends.is_loop:
            self._status = RunStatus.STARTING
            return
        if self._status is not RunStatus.ERROR:
            self._log.warning("replica in error", reason=end.reason, restarts=self._restarts)
        if end.was_ready:
            policy = self._policy
            self._reason += f" (a crash loop: {policy.loop_crashes} ends in {policy.loop_s:g} s)"
        self._status = RunStatus.ERROR
        self._owner.replica_failed()

    def _put_to_use(self, worker: Worker, ready: Ready) -> None:
        """Let the worker take requests; one in a crash loop does, and shows as Error all the same.

        A worker that stays up for long enough ends the loop.
        """
        self._running = worker
        if not self._ends.is_loop:
            self._status, self._reason = RunStatus.RUNNING, None
        self._log.info("replica ready", restarts=self._restarts)
        self._owner.worker_ready(worker, ready)

    def _become_stable(self) -> None:
        was_loop = self._ends.is_loop
        self._ends.forget()
        if was_loop and self._status is RunStatus.ERROR:
            self._status, self._reason = RunStatus.RUNNING, None
            self._log.info("replica recovered", restarts=self._restarts)
            self._owner.replica_recovered()

    async def _run_worker(self) -> WorkerEnd:
        """Run one worker from start to end."""
        loop = asyncio.get_running_loop()
        worker = Worker(self._parts, self._owner.worker_free)
        self._log.info("worker starts", restarts=self._restarts)
        try:
            await worker.start(self._log_file)
        except (OSError, ValueError) as error:
            return WorkerEnd(f"the worker could not be started: {error}", 0.0, was_ready=False)
        try:
            try:
                ready = await self._wait_until_ready(worker)
            except ModelLoadFailedError as error:
                return WorkerEnd(str(error.facts["reason"]), 0.0, was_ready=False)
            started_s = loop.time()
            self._put_to_use(worker, ready)
            stable = loop.call_later(self._policy.stable_s, self._become_stable)
            try:
                reason = await asyncio.shield(worker.ended)
            finally:
                stable.cancel()
            return WorkerEnd(reason, loop.time() - started_s, was_ready=True)
        finally:
            self._running = None
            await end_worker(worker)

    async def _wait_until_ready(self, worker: Worker) -> Ready:
        return await wait_until_ready(worker, self._parts, timeout_s=self._load_timeout_s)


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
