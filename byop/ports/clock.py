"""Time, as a port so that tests can move it."""

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """Wall-clock and monotonic time."""

    def now(self) -> datetime:
        """Return the time now, aware, UTC."""

    def now_ms(self) -> int:
        """Return milliseconds since 1970 UTC."""
