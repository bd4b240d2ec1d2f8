"""Make inference-log-v1.sqlite3: ``python -m tests.store.data.make_inference_log`` from the root.

A kept log is never made again: a new version gets a new file beside the old ones.
"""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

from byop.store.inference_log import SqliteInferenceLog
from tests.store.log_filling import kept_records


async def _fill(log: SqliteInferenceLog) -> None:
    for topic, records in kept_records().items():
        for record in records:
            await log.append(topic, record)


path = Path(__file__).with_name("inference-log-v1.sqlite3")
if path.exists():
    raise SystemExit(f"{path} is kept as it is")
with closing(SqliteInferenceLog(path)) as filled:
    asyncio.run(_fill(filled))
with closing(sqlite3.connect(path)) as connection:
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
path.chmod(0o644)
