"""Appends numbered records from concurrent callers and prints each acknowledgement.

``python -m tests.store.append_process LOG RECORDS DURABILITY WIDTH``; killed by the tests. Record
number n holds the WIDTH rows from n * WIDTH on.
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


async def _append_all(log: SqliteInferenceLog, records: int, width: int) -> None:
    async def caller(first: int) -> None:
        for number in range(first, records, _CALLERS):
            rows = list(range(number * width, (number + 1) * width))
            position = await log.append("t", make_record(rows, time_ms=number // 3))
            os.write(1, f"{number} {position.sequence}\n".encode())

    await asyncio.gather(*(caller(first) for first in range(_CALLERS)))


if __name__ == "__main__":
    durability = cast("Durability", sys.argv[3])
    opened = SqliteInferenceLog(Path(sys.argv[1]), durability=durability)
    asyncio.run(_append_all(opened, int(sys.argv[2]), int(sys.argv[4])))
    opened.close()
