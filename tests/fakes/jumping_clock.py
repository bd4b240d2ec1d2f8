"""Runs byop in this process with a wall clock that jumps: SIGUSR1 an hour ahead, SIGUSR2 back.

Usage: ``python jumping_clock.py PYTHON -m byop ARGUMENTS`` (what follows a wrapper of
``start_server``). The monotonic clock goes on as it is, as when an operator sets the clock.
"""

import signal
import sys
from datetime import UTC, datetime

import time_machine

from byop.cli.main import main

_HOUR_S = 3600

if __name__ == "__main__":
    clock = time_machine.travel(datetime.now(UTC), tick=True).start()
    signal.signal(signal.SIGUSR1, lambda *_: clock.shift(_HOUR_S))
    signal.signal(signal.SIGUSR2, lambda *_: clock.shift(-_HOUR_S))
    sys.argv = ["byop", *sys.argv[4:]]
    main()
