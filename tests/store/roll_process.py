"""Rolls and removes without end what others append, and says so; killed by the tests.

``python -m tests.store.roll_process LOG RETENTION_BYTES``. ``pass`` follows each pass that rolled.
"""

import os
import sys
from pathlib import Path

from byop.store.log_roller import LogRoller, RollPolicy
from tests.store.rolled_log import NOW_MS

if __name__ == "__main__":
    policy = RollPolicy(rows=1, retention_bytes=int(sys.argv[2]))
    roller = LogRoller(Path(sys.argv[1]), policy, now_ms=lambda: NOW_MS)
    while True:
        roller.run()
        os.write(1, b"pass\n")
