"""Notices a worker that hangs between requests, before a request meets it."""

import asyncio
from collections.abc import Callable


class Pulse:
    """Asks an idle worker every ``interval_s`` whether it answers, until ``stop``.

    A worker that was idle when it was asked and has not answered by the next time is silent: it
    would not have read a request either. A busy one is never asked: a deadline watches over it.
    """

    def __init__(
        self,
        interval_s: float,
        *,
        ask: Callable[[], None],
        is_idle: Callable[[], bool],
        on_silence: Callable[[], None],
    ) -> None:
        self._interval_s = interval_s
        self._ask = ask
        self._is_idle = is_idle
        self._on_silence = on_silence
        self._is_asked = False
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(interval_s, self._beat)

    def heard(self) -> bool:
        """Take note of the worker's answer, and return whether it was asked."""
        was_asked, self._is_asked = self._is_asked, False
        return was_asked

    def stop(self) -> None:
        """Ask no more."""
        self._timer.cancel()

    def _beat(self) -> None:
        if self._is_asked:
            self._on_silence()
            return
        if self._is_idle():
            self._is_asked = True
            self._ask()
        self._timer = self._loop.call_later(self._interval_s, self._beat)
