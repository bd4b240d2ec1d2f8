"""Asking again until something has happened."""

import time
from collections.abc import Callable, Iterator

_FIRST_S = 0.05
_LONGEST_S = 1.0


def attempts(
    limit_s: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[float]:
    """Yield the seconds waited so far, at growing distances, at least once, until ``limit_s``."""
    begun = clock()
    pause_s = _FIRST_S
    while True:
        waited_s = clock() - begun
        yield waited_s
        left_s = limit_s - (clock() - begun)
        if left_s <= 0:
            return
        sleep(min(pause_s, left_s))
        pause_s = min(pause_s * 1.5, _LONGEST_S)
