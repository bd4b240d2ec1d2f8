"""One prediction on its way from a caller to a worker and back."""

import asyncio
from typing import Protocol

import pyarrow as pa

from byop.ports.engine import Prediction


class Holder(Protocol):
    """A worker, as far as its requests know it."""

    def give_up(self, request: "Request") -> None:
        """Take note that nobody waits for the request any more."""

    def overrun(self, request: "Request") -> None:
        """Act on a request that is past its deadline."""


class Request:
    """What a caller waits for. ``future`` is what it awaits, ``worker`` who has it in hands."""

    __slots__ = ("deadline_s", "future", "inputs", "timer", "worker")

    def __init__(
        self, inputs: pa.RecordBatch, deadline_s: float, future: asyncio.Future[Prediction]
    ) -> None:
        self.inputs = inputs
        self.deadline_s = deadline_s
        self.future = future
        self.worker: Holder | None = None
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
