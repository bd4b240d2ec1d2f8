"""One live worker as the gateway sees it: process, channel and the requests in its hands."""

import asyncio
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import NamedTuple

from byop.engine.channel import Channel
from byop.engine.frames import Frame, FrameKind, Payload
from byop.engine.isolation import Isolation
from byop.engine.masking import Masker
from byop.engine.worker_answers import AnswerReader, Ready, read_ready
from byop.engine.worker_logs import LogDrain, LogFile, LogRing
from byop.engine.worker_process import RunDirectory, WorkerProcess
from byop.engine.worker_pulse import Pulse
from byop.engine.worker_requests import Request
from byop.errors import (
    InvalidInputError,
    ModelCrashedError,
    ModelError,
    ModelLoadFailedError,
    ServerStoppingError,
)
from byop.ports.engine import ModelLaunch, Prediction
from byop.tables import ipc

_EXIT_GRACE_S = 0.2
_CANCEL_GRACE_S = 1.0
_LOG_LINES_IN_REASON = 5
_LARGE_ANSWER_BYTES = 4 << 20
"""From here on an answer is validated in a thread: the loop would serve nobody else meanwhile."""


class WorkerSettings(NamedTuple):
    """What every worker of one engine shares."""

    run_directory: RunDirectory
    isolation: Isolation
    max_answer_bytes: int
    ping_interval_s: float


class WorkerParts(NamedTuple):
    """What every worker of one model shares."""

    launch: ModelLaunch
    masker: Masker
    ring: LogRing
    settings: WorkerSettings


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
        self._answers = AnswerReader(
            parts.launch.name,
            parts.masker,
            max_answer_bytes=parts.settings.max_answer_bytes,
        )
        self._channel = Channel(
            on_frame=self._receive,
            on_lost=self._lose,
            max_payload_bytes=parts.settings.max_answer_bytes,
        )
        self._pulse: Pulse | None = None
        self._process: WorkerProcess | None = None
        self._end_reason: str | None = None
        self._is_retiring = False
        self._ends_when_idle = False
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
        parts, settings = self._parts, self._parts.settings
        listener, path = settings.run_directory.bind()
        try:
            await self._loop.create_unix_connection(lambda: self._channel, str(path))
            self._process = WorkerProcess(
                parts.launch,
                listener,
                isolation=settings.isolation,
                max_answer_bytes=settings.max_answer_bytes,
            )
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
        self._is_retiring = True
        if self._process is None or self._process.kill():  # else it has a reason of its own
            self._end_reason = self._end_reason or reason

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
        is_ready = self.ready.done()
        match frame.kind:
            case FrameKind.RESULT if frame.request_id in self._in_flight:
                self._answer(frame)
            case FrameKind.ERROR if frame.request_id in self._in_flight:
                self._release(frame.request_id).fail(self._answers.error(frame.payload))
            case FrameKind.PONG if self._pulse is not None and self._pulse.heard():
                pass
            case FrameKind.READY if not is_ready:
                self._become_ready(frame.payload)
            case FrameKind.ERROR if not frame.request_id and is_ready:
                self._retire(str(self._answers.error(frame.payload).facts["reason"]))
            case FrameKind.ERROR if not frame.request_id:
                self.ready.set_exception(self._answers.error(frame.payload))
            case _:
                self.kill(f"its channel broke: it sent a {frame.kind.name} that nobody asked for")

    def _become_ready(self, payload: Payload) -> None:
        ready = read_ready(payload)
        if ready is None:
            self.kill("it did not tell its schemas")
            return
        self._slots = ready.slots
        self._pulse = Pulse(
            self._parts.settings.ping_interval_s,
            ask=lambda: self._channel.send(FrameKind.PING),
            is_idle=lambda: self.is_idle,
            on_silence=lambda: self.kill("it was ended: it did not answer while it was idle"),
        )
        self.ready.set_result(ready)

    def _answer(self, frame: Frame) -> None:
        request = self._release(frame.request_id)
        rows, expected = request.inputs.num_rows, self.ready.result().signature.outputs
        if len(frame.payload) >= _LARGE_ANSWER_BYTES:
            read = partial(self._answers.prediction, frame, rows=rows, expected=expected)
            reading = self._loop.run_in_executor(None, read)
            reading.add_done_callback(partial(_hand_over, request))
            return
        try:
            request.answer(self._answers.prediction(frame, rows=rows, expected=expected))
        except ModelError as error:
            request.fail(error)

    def _release(self, request_id: int) -> Request:
        """Take the request out of the worker's hands, and let it have the next one."""
        request = self._in_flight.pop(request_id)
        request.worker = None
        if self._ends_when_idle and not self._has_live_requests():
            self.kill("it was ended")
        self._on_free(self)
        return request

    def _end_unless_released(self, request: Request) -> None:
        if request in self._in_flight.values():
            self._end_after_deadline()

    def _end_after_deadline(self) -> None:
        self._retire("it was ended: a request ran past its deadline")

    def _retire(self, reason: str) -> None:
        """End the worker now, or when the callers that still wait have their answers."""
        self._is_retiring = self._ends_when_idle = True
        self._end_reason = self._end_reason or reason
        if not self._has_live_requests():
            self.kill(reason)

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
        process = self._process
        reason = self._end_reason or (process.describe_end(code) if process else "it is gone")
        self._is_retiring = True
        self._channel.close()
        if self._pulse is not None:
            self._pulse.stop()
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


def _hand_over(request: Request, reading: asyncio.Future[Prediction]) -> None:
    """Answer the caller with what a thread has read."""
    if reading.cancelled():
        request.fail(ServerStoppingError())
        return
    error = reading.exception()
    if error is None:
        request.answer(reading.result())
    elif isinstance(error, Exception):
        request.fail(error)


def _mark_retrieved(future: asyncio.Future[Ready]) -> None:
    """Keep asyncio from complaining about a load failure that a stop made nobody wait for."""
    if not future.cancelled():
        future.exception()
