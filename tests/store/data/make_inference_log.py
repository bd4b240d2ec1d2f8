"""Make inference-log-v2.sqlite3: ``python -m tests.store.data.make_inference_log`` from the root.

A kept log is never made again: a new version gets a new file beside the old ones. In this one the
first record of each topic is rolled.
"""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

from byop.domain.inferences import InferenceRecord
from byop.store.inference_log import SqliteInferenceLog
from tests.store.log_filling import kept_records
from tests.store.rolled_log import roll


async def _fill(log: SqliteInferenceLog, records: dict[str, list[InferenceRecord]]) -> None:
    for topic, of_topic in records.items():
        for record in of_topic:
            await log.append(topic, record)


path = Path(__file__).with_name("inference-log-v2.sqlite3")
if path.exists():
    raise SystemExit(f"{path} is kept as it is")
with closing(SqliteInferenceLog(path)) as filled:
    kept = kept_records()
    asyncio.run(_fill(filled, {topic: records[:1] for topic, records in kept.items()}))
    roll(path)
    asyncio.run(_fill(filled, {topic: records[1:] for topic, records in kept.items()}))
with closing(sqlite3.connect(path)) as connection:
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
path.chmod(0o644)
