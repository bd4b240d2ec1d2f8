"""Rolls the inference log in the background, in a thread of its own."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import structlog

from byop.errors import ByopError
from byop.store.log_roller import LogRoller, RollPolicy

_LOOK_EVERY_S = 60.0
_AGAIN_S = 1.0
"""After another process had the lock, or the disk refused."""
_MOMENT_S = 0.5
_CALM = 4
_BACKLOG = 16
"""A moment that brings less than a quarter of a roll is calm; 16 rolls wait for no calm moment."""

_log = structlog.get_logger(__name__)


def system_time_ms() -> int:
    """Return milliseconds since 1970 UTC."""
    return time.time_ns() // 1_000_000


class _Amount(NamedTuple):
    """What was appended since the log was opened."""

    rows: int
    size_bytes: int


class BackgroundRolling:
    """Looks at start, once a minute, and as soon as enough was appended.

    A roll takes the processor about as long as the requests that brought its rows: it lets a burst
    of them go first, up to a backlog.
    """

    def __init__(
        self, path: Path, policy: RollPolicy, *, now_ms: Callable[[], int] = system_time_ms
    ) -> None:
        self._policy = policy
        self._roller = LogRoller(path, policy, now_ms=now_ms, is_stopped=self._is_stopped)
        self._appended = self._woken_at = self._passed_at = _Amount(0, 0)
        self._is_open = True
        self._woken = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="log-roller", daemon=True)
        self._thread.start()

    def note(self, rows: int, size_bytes: int) -> None:
        """Take note of what the log's writer committed. Called by one thread, after each commit."""
        before = self._appended
        self._appended = _Amount(before.rows + rows, before.size_bytes + size_bytes)
        if self._is_worth(self._woken_at, 1):
            self._woken_at = self._appended
            self._woken.set()

    def close(self) -> None:
        """End the thread at the next step of its work. Idempotent."""
        self._is_open = False
        self._closing.set()
        self._woken.set()
        self._thread.join()

    def _is_stopped(self) -> bool:
        return not self._is_open

    def _work(self) -> None:
        while self._is_open:
            self._passed_at = self._appended
            pause_s = _LOOK_EVERY_S if self._pass() else _AGAIN_S
            self._woken.wait(pause_s)
            self._woken.clear()
            self._wait_for_calm()

    def _wait_for_calm(self) -> None:
        """Return after a moment with few appends, when the backlog is large, or at the end."""
        is_calm = False
        while not is_calm and not self._is_worth(self._passed_at, _BACKLOG):
            before = self._appended
            if self._closing.wait(_MOMENT_S):
                return
            is_calm = not self._is_worth(before, 1 / _CALM)

    def _is_worth(self, since: "_Amount", rolls: float) -> bool:
        """Whether so many rolls' worth was appended since then."""
        rows = self._appended.rows - since.rows
        size_bytes = self._appended.size_bytes - since.size_bytes
        policy = self._policy
        return rows >= rolls * policy.rows or size_bytes >= rolls * policy.size_bytes

    def _pass(self) -> bool:
        """Roll; return whether that was done."""
        try:
            return self._roller.run()
        except (ByopError, OSError) as error:
            _log.warning("the log could not be rolled", error=str(error))
        except Exception:  # noqa: BLE001 (an edge: the thread that rolls)
            # Appends and reads go on without it; the next pass may succeed.
            _log.exception("the log could not be rolled")
        return False
