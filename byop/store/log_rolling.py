"""Rolls the inference log in the background, in a thread of its own."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from byop.errors import ByopError
from byop.store.log_roller import LogRoller, RollPolicy

_LOOK_EVERY_S = 60.0
_AGAIN_S = 1.0
"""After another process had the lock, or the disk refused."""

_log = structlog.get_logger(__name__)


def system_time_ms() -> int:
    """Return milliseconds since 1970 UTC."""
    return time.time_ns() // 1_000_000


class BackgroundRolling:
    """Looks at start, once a minute, and as soon as enough was appended."""

    def __init__(
        self, path: Path, policy: RollPolicy, *, now_ms: Callable[[], int] = system_time_ms
    ) -> None:
        self._policy = policy
        self._roller = LogRoller(path, policy, now_ms=now_ms, is_stopped=self._is_stopped)
        self._rows = self._size_bytes = 0
        self._is_open = True
        self._woken = threading.Event()
        self._thread = threading.Thread(target=self._work, name="log-roller", daemon=True)
        self._thread.start()

    def note(self, rows: int, size_bytes: int) -> None:
        """Take note of what the log's writer committed. Called by one thread, after each commit."""
        self._rows += rows
        self._size_bytes += size_bytes
        if self._rows >= self._policy.rows or self._size_bytes >= self._policy.size_bytes:
            self._rows = self._size_bytes = 0
            self._woken.set()

    def close(self) -> None:
        """End the thread at the next step of its work. Idempotent."""
        self._is_open = False
        self._woken.set()
        self._thread.join()

    def _is_stopped(self) -> bool:
        return not self._is_open

    def _work(self) -> None:
        while self._is_open:
            pause_s = _LOOK_EVERY_S if self._pass() else _AGAIN_S
            self._woken.wait(pause_s)
            self._woken.clear()

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
