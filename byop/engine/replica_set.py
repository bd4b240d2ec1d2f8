"""All replicas of one model of a deployment, behind one bounded queue."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
from structlog.typing import FilteringBoundLogger

from byop.domain.deployments import RunStatus
from byop.domain.models import Signature
from byop.engine.replica import Replica, RestartPolicy
from byop.engine.worker_answers import Ready
from byop.engine.worker_client import Worker, WorkerParts
from byop.engine.worker_logs import LogFile
from byop.engine.worker_requests import Request
from byop.errors import ModelNotRunningError, ModelTimeoutError, OverloadedError
from byop.ports.engine import Prediction


class ReplicaSet:
    """Gives each request to the least busy replica, in the order in which requests came.

    Runs on the engine's loop; ``status``, ``signature`` and ``details`` are safe from any thread.
    """

    def __init__(
        self,
        parts: WorkerParts,
        *,
        replica_count: int,
        queue_limit: int,
        load_timeout_s: float,
        policy: RestartPolicy,
        log_dir: Path,
        on_running: Callable[[], None],
        log: FilteringBoundLogger,
    ) -> None:
        self._name = parts.launch.name
        self._queue_limit = queue_limit
        self._on_running = on_running
        self._waiting: dict[Request, None] = {}
        self._unanswered = 0
        self._all_answered = asyncio.Event()
        self._is_stopping = False
        self.ring = parts.ring
        self.signature: Signature | None = None
        self.replicas = tuple(
            Replica(
                f"{self._name}-{number}",
                parts=parts,
                owner=self,
                policy=policy,
                load_timeout_s=load_timeout_s,
                log_file=LogFile(log_dir / f"{self._name}-{number}.log"),
                log=log.bind(model=self._name, version=parts.launch.version),
            )
            for number in range(replica_count)
        )

    @property
    def status(self) -> RunStatus:
        """Running with one replica up; Error when none is and one has failed."""
        found = {replica.status().status for replica in self.replicas}
        for status in (RunStatus.RUNNING, RunStatus.ERROR, RunStatus.STARTING):
            if status in found:
                return status
        return RunStatus.STOPPING

    def start(self) -> None:
        """Start every replica."""
        for replica in self.replicas:
            replica.start()

    async def stop(self, *, drain_s: float) -> None:
        """Answer what was taken, for up to ``drain_s``, take nothing new, end the replicas."""
        self._is_stopping = True
        if self._unanswered:
            try:
                await asyncio.wait_for(self._all_answered.wait(), drain_s)
            except TimeoutError:
                self._refuse_waiting("was stopped")
        await asyncio.gather(*(replica.stop() for replica in self.replicas))

    async def predict(self, inputs: pa.RecordBatch, *, deadline_s: float) -> Prediction:
        """Return a replica's answer; see ``ports.engine.Engine.predict``."""
        if self._is_stopping:
            raise ModelNotRunningError(self._name, "was stopped")
        loop = asyncio.get_running_loop()
        request = Request(inputs, deadline_s, loop.create_future())
        worker = self._free_worker()
        if worker is None:
            self._enqueue(request)
        request.timer = loop.call_later(deadline_s, self._expire, request)
        self._unanswered += 1
        try:
            if worker is not None:
                worker.send(request)
            return await request.future
        except asyncio.CancelledError:
            self._give_up(request)
            raise
        finally:
            self._note_answered()

    def require_room(self) -> None:
        """Raise OverloadedError when a request that came now would find the queue full."""
        if len(self._waiting) >= self._queue_limit and self._free_worker() is None:
            raise OverloadedError(f"model {self._name!r}", self._queue_limit)

    def worker_ready(self, worker: Worker, ready: Ready) -> None:
        """Take note of a worker that takes requests from now on."""
        self.signature = ready.signature
        self.worker_free(worker)
        self._on_running()

    def worker_free(self, worker: Worker) -> None:
        """Give the worker the requests that wait, oldest first."""
        while self._waiting and worker.has_free_slot:
            request = next(iter(self._waiting))
            del self._waiting[request]
            worker.send(request)

    def replica_failed(self) -> None:
        """Refuse what waits when no replica can be expected to come up soon."""
        if self._have_all_failed():
            self._refuse_waiting(self._why_not_running())

    def replica_recovered(self) -> None:
        """Tell that the model runs again."""
        self._on_running()

    def _note_answered(self) -> None:
        self._unanswered -= 1
        if self._is_stopping and not self._unanswered:
            self._all_answered.set()

    def _free_worker(self) -> Worker | None:
        free = [
            worker
            for replica in self.replicas
            if (worker := replica.running) is not None and worker.has_free_slot
        ]
        if len(free) <= 1:
            return free[0] if free else None
        return min(free, key=lambda worker: worker.load)

    def _enqueue(self, request: Request) -> None:
        if self._have_all_failed():
            raise ModelNotRunningError(self._name, self._why_not_running())
        self.require_room()
        self._waiting[request] = None

    def _expire(self, request: Request) -> None:
        late = ModelTimeoutError(self._name, request.deadline_s)
        if request not in self._waiting:
            request.fail(late)
            if request.worker is not None:
                request.worker.overrun(request)
            return
        del self._waiting[request]
        if any(replica.running is not None for replica in self.replicas):
            request.fail(late)
        else:
            why = f"no replica came up within {request.deadline_s:g} s"
            request.fail(ModelNotRunningError(self._name, why))

    def _give_up(self, request: Request) -> None:
        if request in self._waiting:
            del self._waiting[request]
            request.settle()
        elif request.worker is not None:
            request.worker.give_up(request)

    def _refuse_waiting(self, why: str) -> None:
        waiting, self._waiting = self._waiting, {}
        for request in waiting:
            request.fail(ModelNotRunningError(self._name, why))

    def _have_all_failed(self) -> bool:
        return all(replica.has_failed for replica in self.replicas)

    def _why_not_running(self) -> str:
        reasons = [replica.status().reason for replica in self.replicas]
        return f"no replica is up: {next(filter(None, reasons), 'it is being stopped')}"
