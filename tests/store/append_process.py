"""Appends numbered rows from concurrent callers and prints each acknowledgement.

``python -m tests.store.append_process LOG ROWS [DURABILITY]``; killed by the tests.
"""

import asyncio
import os
import sys
from pathlib import Path
from typing import cast

from byop.settings import Durability
from byop.store.inference_log import SqliteInferenceLog
from tests.store.log_records import make_record

_CALLERS = 16


async def _append_all(log: SqliteInferenceLog, rows: int) -> None:
    async def caller(first: int) -> None:
        for number in range(first, rows, _CALLERS):
            position = await log.append("t", make_record([number], time_ms=number // 3))
            os.write(1, f"{number} {position.sequence}\n".encode())

    await asyncio.gather(*(caller(first) for first in range(_CALLERS)))


if __name__ == "__main__":
    durability = cast("Durability", sys.argv[3] if len(sys.argv) > 3 else "process")
    opened = SqliteInferenceLog(Path(sys.argv[1]), durability=durability)
    asyncio.run(_append_all(opened, int(sys.argv[2])))
    opened.close()
