"""The engine of one machine: every replica is a process of this server."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import pyarrow as pa

from byop.domain.deployments import EngineStatus
from byop.domain.identifiers import DeploymentId, ModelVersionId
from byop.domain.models import Signature
from byop.engine.deployment_run import DeploymentRun, RunSettings, file_name
from byop.engine.frames import MAX_PAYLOAD_BYTES
from byop.engine.isolation import BY_PROCESS, Isolation
from byop.engine.masking import Masker
from byop.engine.replica import RestartPolicy, end_worker, wait_until_ready
from byop.engine.replica_set import ReplicaSet
from byop.engine.worker_client import Worker, WorkerParts, WorkerSettings
from byop.engine.worker_logs import LogFile, LogRing
from byop.engine.worker_process import RunDirectory
from byop.errors import ModelLoadFailedError, ModelNotRunningError, ServerStoppingError
from byop.ports.engine import DeploymentLaunch, ModelLaunch, Prediction, tell_nobody

_DEFAULT_POLICY = RestartPolicy()


class LocalEngine:
    """Implements ``ports.engine.Engine`` with one process per replica on Unix sockets.

    ``open`` must be awaited on the loop that ``predict`` runs on, in a thread that lives as long
    as the engine. A replaced run can be called for ``linger_s`` more, for pipelines that are
    half-way through their steps when the replacement takes over.
    """

    def __init__(
        self,
        *,
        run_dir: Path,
        load_timeout_s: float,
        queue_limit: int,
        log_dir: Path,
        drain_s: float = 30.0,
        linger_s: float = 5.0,
        policy: RestartPolicy = _DEFAULT_POLICY,
        isolation: Isolation = BY_PROCESS,
        max_answer_bytes: int = MAX_PAYLOAD_BYTES,
    ) -> None:
        self._run_dir = run_dir
        self._load_timeout_s = load_timeout_s
        self._queue_limit = queue_limit
        self._log_dir = log_dir
        self._drain_s = drain_s
        self._linger_s = linger_s
        self._policy = policy
        self._isolation = isolation
        self._max_answer_bytes = max_answer_bytes
        self._lock = threading.Lock()
        self._is_closed = False
        self._places: dict[DeploymentId, _Place] = {}
        self._alive: set[DeploymentRun] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread_id: int | None = None
        self._settings: RunSettings | None = None

    async def open(self) -> None:
        """Take the running loop, and make the directory of the sockets."""
        self._loop = asyncio.get_running_loop()
        self._thread_id = threading.get_ident()
        self._settings = RunSettings(
            workers=WorkerSettings(
                run_directory=RunDirectory(self._run_dir),
                isolation=self._isolation.with_scratch(self._run_dir / "scratch"),
                max_answer_bytes=min(self._max_answer_bytes, MAX_PAYLOAD_BYTES),
                ping_interval_s=self._policy.ping_interval_s,
            ),
            log_dir=self._log_dir,
            load_timeout_s=self._load_timeout_s,
            queue_limit=self._queue_limit,
            policy=self._policy,
        )

    def start(
        self, launch: DeploymentLaunch, *, on_in_use: Callable[[], None] = tell_nobody
    ) -> None:
        """Begin to run the deployment, replacing a run under the same id once this one is up."""
        place_id = launch.deployment_id
        run = DeploymentRun(
            launch, self._opened(), on_running=lambda run: self._take_over(place_id, run, on_in_use)
        )
        with self._lock:
            place = self._places.setdefault(place_id, _Place())
            replaced = place.put(run)
            if place.is_in_use(run):
                on_in_use()
        self._on_loop(self._begin, run, replaced)

    def stop(self, deployment_id: DeploymentId) -> None:
        """Drain and end the deployment's replicas."""
        with self._lock:
            place = self._places.pop(deployment_id, None)
        if place is not None:
            self._on_loop(self._end, list(place.runs()))

    def status(self, deployment_id: DeploymentId) -> EngineStatus | None:
        """Return the state; while a replacement starts, the replacement's."""
        place = self._places.get(deployment_id)
        return None if place is None else place.newest.status()

    def signature(
        self, deployment_id: DeploymentId, model_version_id: ModelVersionId
    ) -> Signature | None:
        """Return the schemas as the running model told them."""
        found = self._find(deployment_id, model_version_id)
        return None if found is None else found.signature

    def logs(
        self, deployment_id: DeploymentId, model_version_id: ModelVersionId, *, lines: int
    ) -> list[str]:
        """Return the last lines of the model's workers, the newest run's."""
        place = self._places.get(deployment_id)
        runs = [] if place is None else [place.newest, *place.runs()]
        for run in runs:
            if model_version_id in run.sets:
                return run.sets[model_version_id].ring.tail(lines)
        return []

    def probe(self, launch: ModelLaunch, *, timeout_s: float) -> Signature:
        """Load the model once and return its schemas. Not to be called on the loop's thread."""
        loop = self._running_loop()
        if threading.get_ident() == self._thread_id:
            raise RuntimeError("probe blocks: call it from another thread than the loop's")
        if self._is_closed:
            raise ServerStoppingError
        coroutine = self._probe(launch, self._opened(), timeout_s=timeout_s)
        try:
            return asyncio.run_coroutine_threadsafe(coroutine, loop).result()
        except CancelledError:
            raise ServerStoppingError from None

    def require_room(self, deployment_id: DeploymentId, model_version_id: ModelVersionId) -> None:
        """Raise what ``predict`` would when the model's queue is full."""
        found = self._find(deployment_id, model_version_id)
        if found is not None:
            found.require_room()

    async def predict(
        self,
        deployment_id: DeploymentId,
        model_version_id: ModelVersionId,
        inputs: pa.RecordBatch,
        *,
        deadline_s: float,
    ) -> Prediction:
        """Return the model's answer to ``inputs``."""
        found = self._find(deployment_id, model_version_id)
        if found is None:
            raise ModelNotRunningError(str(model_version_id), "is not deployed here")
        return await found.predict(inputs, deadline_s=deadline_s)

    async def close(self, *, drain_s: float) -> None:
        """Drain for up to ``drain_s``, then end every worker. ``logs`` can still be read."""
        self._is_closed = True
        await asyncio.gather(*(run.stop(drain_s=drain_s) for run in self._alive))
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks)
        self._opened().workers.run_directory.close()

    def _find(
        self, deployment_id: DeploymentId, model_version_id: ModelVersionId
    ) -> ReplicaSet | None:
        place = self._places.get(deployment_id)
        if place is not None:
            for run in place.runs():
                found = run.sets.get(model_version_id)
                if found is not None:
                    return found
        return None

    def _begin(self, run: DeploymentRun, replaced: list[DeploymentRun]) -> None:
        if not self._is_closed:
            self._alive.add(run)
            run.start()
        self._end(replaced)

    def _end(self, runs: list[DeploymentRun]) -> None:
        for run in runs:
            self._spawn(self._stop_run(run))

    async def _stop_run(self, run: DeploymentRun) -> None:
        await run.stop(drain_s=self._drain_s)
        self._alive.discard(run)

    def _take_over(
        self, deployment_id: DeploymentId, run: DeploymentRun, on_in_use: Callable[[], None]
    ) -> None:
        """Let requests go to the run, now that it is up, and end the one before."""
        with self._lock:
            place = self._places.get(deployment_id)
            replaced = None if place is None else place.promote(run)
            if replaced is not None:
                on_in_use()
        if place is not None and replaced is not None:
            self._spawn(self._retire(place, replaced))

    async def _retire(self, place: "_Place", run: DeploymentRun) -> None:
        await asyncio.sleep(self._linger_s)
        with self._lock:
            place.forget(run)
        await self._stop_run(run)

    async def _probe(
        self, launch: ModelLaunch, settings: RunSettings, *, timeout_s: float
    ) -> Signature:
        parts = WorkerParts(
            launch=launch,
            masker=Masker(launch.resources.environment),
            ring=LogRing(),
            settings=settings.workers,
        )
        worker = Worker(parts, lambda _: None)
        self._track(asyncio.current_task())
        log_name = file_name(f"{launch.name}-{launch.model_version_id}.log")
        try:
            await worker.start(LogFile(settings.log_dir / "probes" / log_name))
        except (OSError, ValueError) as error:
            why = f"the worker could not be started: {error}"
            raise ModelLoadFailedError(launch.name, why) from error
        try:
            return (await wait_until_ready(worker, parts, timeout_s=timeout_s)).signature
        finally:
            await end_worker(worker)

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self._track(self._running_loop().create_task(coroutine))

    def _track(self, task: asyncio.Task[Any] | None) -> None:
        """Hold on to a task, so that ``close`` can end it."""
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _on_loop(self, function: Callable[..., None], *args: object) -> None:
        self._running_loop().call_soon_threadsafe(function, *args)

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            raise RuntimeError("await LocalEngine.open() first")
        return self._loop

    def _opened(self) -> RunSettings:
        if self._settings is None:
            raise RuntimeError("await LocalEngine.open() first")
        return self._settings


class _Place:
    """The runs under one deployment id: the one in use, its successor, those that linger."""

    def __init__(self) -> None:
        self._active: DeploymentRun | None = None
        self._incoming: DeploymentRun | None = None
        self._lingering: tuple[DeploymentRun, ...] = ()

    @property
    def newest(self) -> DeploymentRun:
        """The run that was started last."""
        found = self._incoming or self._active
        if found is None:
            raise RuntimeError("a place is made with a run")
        return found

    def runs(self) -> Iterator[DeploymentRun]:
        """Yield the runs in the order in which requests look for their model."""
        if self._active is not None:
            yield self._active
        if self._incoming is not None:
            yield self._incoming
        yield from self._lingering

    def put(self, run: DeploymentRun) -> list[DeploymentRun]:
        """Add a run; return the runs that nothing can come of any more."""
        if self._active is None or not self._active.is_running:
            replaced = [found for found in (self._active, self._incoming) if found is not None]
            self._active, self._incoming = run, None
            return replaced
        replaced = [] if self._incoming is None else [self._incoming]
        self._incoming = run
        return replaced

    def is_in_use(self, run: DeploymentRun) -> bool:
        """Return whether requests go to the run."""
        return run is self._active

    def promote(self, run: DeploymentRun) -> DeploymentRun | None:
        """Put the incoming run in use; return the one it replaces."""
        if run is not self._incoming:
            return None
        replaced, self._active, self._incoming = self._active, run, None
        if replaced is not None:
            self._lingering = (*self._lingering, replaced)
        return replaced

    def forget(self, run: DeploymentRun) -> None:
        """Drop a run that has lingered."""
        self._lingering = tuple(found for found in self._lingering if found is not run)
