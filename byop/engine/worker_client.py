"""One live worker as the gateway sees it: process, channel and the requests in its hands."""

import asyncio
import json
from collections.abc import Callable
from itertools import count
from typing import NamedTuple

import pyarrow as pa

from byop.domain.models import Signature
from byop.engine.channel import Channel
from byop.engine.frames import Frame, FrameKind, Payload
from byop.engine.masking import Masker
from byop.engine.schema_texts import schema_from_text
from byop.engine.worker_calls import CANCELLED
from byop.engine.worker_logs import LogDrain, LogFile, LogRing
from byop.engine.worker_process import RunDirectory, WorkerProcess, describe_exit
from byop.errors import (
    InvalidInputError,
    ModelCrashedError,
    ModelError,
    ModelFailedError,
    ModelInputRejectedError,
    ModelLoadFailedError,
    ModelOutputInvalidError,
)
from byop.ports.engine import ModelLaunch, Prediction
from byop.tables import ipc

_EXIT_GRACE_S = 0.2
_CANCEL_GRACE_S = 1.0
_LOG_LINES_IN_REASON = 5

_FAILURES: dict[str, type[ModelError]] = {
    kind.code: kind
    for kind in (
        ModelFailedError,
        ModelInputRejectedError,
        ModelOutputInvalidError,
        ModelLoadFailedError,
    )
}


class Ready(NamedTuple):
    """What a worker told when its model was loaded."""

    signature: Signature
    is_async: bool
    slots: int


class Request:
    """One prediction on its way. ``future`` is what the caller awaits."""

    __slots__ = ("deadline_s", "future", "inputs", "timer", "worker")

    def __init__(
        self, inputs: pa.RecordBatch, deadline_s: float, future: asyncio.Future[Prediction]
    ) -> None:
        self.inputs = inputs
        self.deadline_s = deadline_s
        self.future = future
        self.worker: Worker | None = None
        self.timer: asyncio.TimerHandle | None = None

    def fail(self, error: Exception) -> None:
        """Answer the caller with an error, when nobody has answered yet."""
        self.settle()
        if not self.future.done():
            self.future.set_exception(error)

    def answer(self, prediction: Prediction) -> None:
        """Answer the caller, when nobody has answered yet."""
        self.settle()
        if not self.future.done():
            self.future.set_result(prediction)

    def settle(self) -> None:
        """Stop the clock."""
        if self.timer is not None:
            self.timer.cancel()


class WorkerParts(NamedTuple):
    """What every worker of one model shares."""

    launch: ModelLaunch
    masker: Masker
    ring: LogRing
    run_directory: RunDirectory


class Worker:
    """A worker process that loads, then answers requests until it ends.

    ``ready`` and ``ended`` are futures: what the worker told once loaded, and why it is gone.
    Everything here runs on the engine's loop.
    """

    def __init__(self, parts: WorkerParts, on_free: Callable[["Worker"], None]) -> None:
        loop = asyncio.get_running_loop()
        self._loop = loop
        self._parts = parts
        self._on_free = on_free
        self._ids = count(1)
        self._in_flight: dict[int, Request] = {}
        self._channel = Channel(on_frame=self._receive, on_lost=self._lose)
        self._process: WorkerProcess | None = None
        self._end_reason: str | None = None
        self._is_retiring = False
        self._slots = 0
        self.ready: asyncio.Future[Ready] = loop.create_future()
        self.ready.add_done_callback(_mark_retrieved)
        self.ended: asyncio.Future[str] = loop.create_future()

    @property
    def load(self) -> float:
        """Requests in its hands per slot."""
        return len(self._in_flight) / self._slots

    @property
    def has_free_slot(self) -> bool:
        """Whether it can be given a request now."""
        return len(self._in_flight) < self._slots and not self._is_retiring

    @property
    def is_idle(self) -> bool:
        """Whether it has no request in its hands."""
        return not self._in_flight

    async def start(self, log_file: LogFile) -> None:
        """Start the process. The connection is made first: the worker finds it waiting."""
        parts = self._parts
        listener, path = parts.run_directory.bind()
        try:
            await self._loop.create_unix_connection(lambda: self._channel, str(path))
            self._process = WorkerProcess(parts.launch, listener)
        except BaseException:
            self._channel.close()
            raise
        finally:
            listener.close()
            path.unlink(missing_ok=True)
        drain = LogDrain(self._process.output, masker=parts.masker, ring=parts.ring, file=log_file)
        self._process.watch(drain, self._loop, self._exited)

    def send(self, request: Request) -> None:
        """Give it a request; ``has_free_slot`` was true."""
        request_id = next(self._ids)
        try:
            payload = ipc.write_stream(request.inputs)
            self._channel.send(FrameKind.PREDICT, request_id, payload)
        except InvalidInputError as error:
            request.fail(error)
            return
        request.worker = self
        self._in_flight[request_id] = request

    def give_up(self, request: Request) -> None:
        """Tell it that nobody waits for the request any more; the slot stays taken until then."""
        for request_id, held in self._in_flight.items():
            if held is request:
                self._channel.send(FrameKind.CANCEL, request_id)

    def overrun(self, request: Request) -> None:
        """Act on a request past its deadline: an async model cancels it, else the worker ends."""
        if self.ready.result().is_async:
            self.give_up(request)
            self._loop.call_later(_CANCEL_GRACE_S, self._end_unless_released, request)
        else:
            self._end_after_deadline()

    def kill(self, reason: str) -> None:
        """End the process at once; ``ended`` tells ``reason``."""
        self._end_reason = self._end_reason or reason
        self._is_retiring = True
        if self._process is not None:
            self._process.kill()

    async def drain(self, *, exit_s: float) -> None:
        """Let the worker exit by itself when it has no request left; kill it after ``exit_s``."""
        self._is_retiring = True
        self._end_reason = self._end_reason or "it was stopped"
        self._channel.send(FrameKind.DRAIN)
        await asyncio.wait([self.ended], timeout=exit_s)
        self.kill("it was stopped")
        if self._process is not None:
            await asyncio.shield(self.ended)

    def _receive(self, frame: Frame) -> None:
        match frame.kind:
            case FrameKind.RESULT:
                self._answer(frame)
            case FrameKind.ERROR if frame.request_id:
                self._fail(frame)
            case FrameKind.READY if not self.ready.done():
                self._become_ready(frame.payload)
            case FrameKind.ERROR if not self.ready.done():
                self.ready.set_exception(self._read_error(frame.payload))
            case _:
                pass

    def _become_ready(self, payload: Payload) -> None:
        try:
            told = json.loads(bytes(payload))
            signature = Signature(
                inputs=schema_from_text(told["inputs"]), outputs=schema_from_text(told["outputs"])
            )
            ready = Ready(signature, bool(told["is_async"]), max(1, int(told["slots"])))
        except (ValueError, KeyError, TypeError, InvalidInputError):
            self.kill("it did not tell its schemas")
            return
        self._slots = ready.slots
        self.ready.set_result(ready)

    def _answer(self, frame: Frame) -> None:
        request = self._release(frame.request_id)
        if request is None:
            return
        try:
            outputs = ipc.read_stream(frame.payload)
        except (InvalidInputError, pa.ArrowException) as error:
            request.fail(ModelOutputInvalidError(self._parts.launch.name, str(error)))
            return
        reason = self._misfit(outputs, request.inputs.num_rows)
        if reason is None:
            request.answer(Prediction(outputs, frame.nanoseconds))
        else:
            request.fail(ModelOutputInvalidError(self._parts.launch.name, reason))

    def _misfit(self, outputs: pa.RecordBatch, rows: int) -> str | None:
        """Return what is wrong with an answer; the worker has checked it, but is not trusted."""
        if outputs.num_rows != rows:
            return f"the output must have {rows} rows as the input has, got {outputs.num_rows}"
        expected = self.ready.result().signature.outputs
        if expected is not None and not outputs.schema.equals(expected):
            return f"the output is not as declared: expected {expected}, got {outputs.schema}"
        return None

    def _fail(self, frame: Frame) -> None:
        request = self._release(frame.request_id)
        if request is not None:
            request.fail(self._read_error(frame.payload))

    def _release(self, request_id: int) -> Request | None:
        """Take the request out of the worker's hands, and let it have the next one."""
        request = self._in_flight.pop(request_id, None)
        if request is not None:
            if self._is_retiring and not self._has_live_requests():
                self._end_if_overrun()
            self._on_free(self)
        return request

    def _read_error(self, payload: Payload) -> ModelError:
        name = self._parts.launch.name
        try:
            told = json.loads(bytes(payload))
            code, reason = str(told["code"]), str(told["reason"])
        except (ValueError, KeyError, TypeError):
            return ModelFailedError(name, "the worker told no reason")
        if code == CANCELLED:
            return ModelFailedError(name, "the request was cancelled")
        return _FAILURES.get(code, ModelFailedError)(name, self._parts.masker.reason(reason))

    def _end_unless_released(self, request: Request) -> None:
        if request in self._in_flight.values():
            self._end_after_deadline()

    def _end_after_deadline(self) -> None:
        """End the worker now, or when the other callers that still wait have their answers."""
        self._is_retiring = True
        self._end_reason = "it was ended: a request ran past its deadline"
        if not self._has_live_requests():
            self.kill(self._end_reason)

    def _end_if_overrun(self) -> None:
        overrun = [r for r in self._in_flight.values() if r.future.done()]
        if overrun and self._end_reason is not None:
            self.kill(self._end_reason)

    def _has_live_requests(self) -> bool:
        return any(not request.future.done() for request in self._in_flight.values())

    def _lose(self, fault: str | None) -> None:
        """React to the end of the connection, which the end of the process follows."""
        if fault is not None:
            self.kill(f"its channel broke: {fault}")
        elif not self.ended.done():
            self._is_retiring = True
            self._loop.call_later(_EXIT_GRACE_S, self.kill, "it closed its channel")

    def _exited(self, code: int) -> None:
        reason = describe_exit(code)
        if self._end_reason is not None:
            reason = self._end_reason
        self._is_retiring = True
        self._channel.close()
        if not self.ready.done():
            self.ready.set_exception(
                ModelLoadFailedError(self._parts.launch.name, self._with_log(reason))
            )
        self.ended.set_result(reason)
        requests = list(self._in_flight.values())
        self._in_flight.clear()
        for request in requests:
            request.fail(ModelCrashedError(self._parts.launch.name, reason))

    def _with_log(self, reason: str) -> str:
        lines = self._parts.ring.tail(_LOG_LINES_IN_REASON)
        return self._parts.masker.reason("\n".join([reason, *lines]))


def _mark_retrieved(future: asyncio.Future[Ready]) -> None:
    """Keep asyncio from complaining about a load failure that a stop made nobody wait for."""
    if not future.cancelled():
        future.exception()
