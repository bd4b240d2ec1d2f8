"""A uvicorn server that ends in order: the first signal drains, a second one ends at once.

uvicorn by itself takes SIGINT alone as the second signal, and what overruns its time gets a bare
500 from it.
"""

import asyncio
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

import structlog
import uvicorn
from typing_extensions import override

_FORCED = 1
"""The exit status of a stop that was forced."""
_POLL_S = 0.02
_LAST_WORDS_S = 1.0
"""How long answers that tell of a broken off request may take to leave."""

_log = structlog.get_logger(__name__)


class DrainingServer(uvicorn.Server):
    """Serves until a signal, then answers what it took, for up to ``drain_s``.

    Args:
        config: uvicorn's configuration.
        drain_s: How long requests may go on after the signal.
        on_started: Called when connections are taken.
        break_off: Awaited when the time is over, to fail the requests that still run.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        *,
        drain_s: float,
        on_started: Callable[[], None],
        break_off: Callable[[], Awaitable[None]],
    ) -> None:
        super().__init__(config)
        self._drain_s = drain_s
        self._on_started = on_started
        self._break_off = break_off

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.started and not self.should_exit:
            self._on_started()

    @override
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Refuse connections, end those that are idle, wait for the others, end the application."""
        _log.info("stop: draining", limit_s=self._drain_s, requests=len(self.server_state.tasks))
        for server in self.servers:
            server.close()
        for listener in sockets or ():
            listener.close()
        if not await self._is_drained_within(self._drain_s):
            _log.warning(
                "drain exceeded its time: requests are broken off",
                limit_s=self._drain_s,
                requests=len(self.server_state.tasks),
            )
            await self._end_requests()
        await self.lifespan.shutdown()
        _log.info("stopped")

    @override
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take the signals from here to the end of the process, not of the block."""
        for number in stop_signals():
            signal.signal(number, self._take_signal)
        yield

    def _take_signal(self, number: int, _frame: FrameType | None) -> None:
        if self.should_exit:
            _force(number)
        self.should_exit = True

    async def _is_drained_within(self, limit_s: float) -> bool:
        """Wait for the last connection and the last task; return whether there is none left."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + limit_s
        while self.server_state.connections or self.server_state.tasks:
            if loop.time() >= deadline:
                return False
            for connection in list(self.server_state.connections):
                connection.shutdown()  # ends it when it is idle, else after its answer
            await asyncio.sleep(_POLL_S)
        return True

    async def _end_requests(self) -> None:
        """Fail what the engine holds, then cut off who still sends or has not read its answer."""
        await self._break_off()
        if await self._is_drained_within(_LAST_WORDS_S):
            return
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        if not await self._is_drained_within(_LAST_WORDS_S):
            for task in self.server_state.tasks:
                task.cancel()


def stop_signals() -> list[signal.Signals]:
    """Return the signals that stop a server: a closed terminal's too, unless nohup hid it."""
    found = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        found.append(signal.SIGHUP)
    return found


def _force(number: int) -> NoReturn:
    """End the process now; workers and installers end with it (``PR_SET_PDEATHSIG``).

    Runs in a signal handler: whatever lock the interrupted code holds, nothing here takes one.
    What was acknowledged is committed already.
    """
    name = signal.Signals(number).name
    os.write(2, f"byop: a second signal ({name}) forces the stop\n".encode())
    os._exit(_FORCED)
