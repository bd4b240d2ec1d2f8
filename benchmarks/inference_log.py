"""Speed of inference log appends, against bare sqlite3 with the same rows and grouping.

Run as ``python -m benchmarks.inference_log``.
"""

import argparse
import asyncio
import sqlite3
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import uvloop

from byop.domain.inferences import InferenceMetadata, InferenceRecord, no_anomalies
from byop.ports.inference_log import LogQuery
from byop.settings import Durability
from byop.store.inference_log import SqliteInferenceLog
from byop.store.log_rows import LogSchema

_FEATURES = 29
_INPUTS = pa.schema({"tensor": pa.list_(pa.float32(), _FEATURES)})
_OUTPUTS = pa.schema({"dense_1": pa.float32()})
_METADATA = InferenceMetadata(
    last_model='{"model_name": "ccfraud", "model_sha": "bc85ce596945f876256f41515c7501c399fd97eb"}',
    pipeline_version="2f3c1a3e-6ec4-4fb8-a3c0-4c1f2f4a1f0b",
    elapsed_ns=(21_000, 210_000),
)


def make_record(rows: int, time_ms: int) -> InferenceRecord:
    values = pa.Array.from_buffers(
        pa.float32(),
        rows * _FEATURES,
        [None, pa.py_buffer(np.random.default_rng(7).random(rows * _FEATURES, np.float32))],
    )
    scores = pa.Array.from_buffers(
        pa.float32(), rows, [None, pa.py_buffer(np.zeros(rows, np.float32))]
    )
    tensor = pa.FixedSizeListArray.from_arrays(values, type=_INPUTS.field(0).type)
    return InferenceRecord(
        time_ms=time_ms,
        inputs=pa.RecordBatch.from_arrays([tensor], schema=_INPUTS),
        outputs=pa.RecordBatch.from_arrays([scores], schema=_OUTPUTS),
        anomalies=no_anomalies(rows),
        metadata=_METADATA,
    )


async def _append_all(
    log: SqliteInferenceLog, records: list[InferenceRecord], callers: int
) -> float:
    async def caller(first: int) -> None:
        for record in records[first::callers]:
            await log.append("pipeline/1", record)

    started = time.perf_counter()
    await asyncio.gather(*(caller(first) for first in range(callers)))
    return time.perf_counter() - started


def measure_log(rows: int, appends: int, callers: int, durability: Durability) -> float:
    """Return rows per second."""
    # Records are made before: a server has them anyway when it appends.
    records = [make_record(rows, 1_700_000_000_000 + number) for number in range(appends)]
    with tempfile.TemporaryDirectory() as folder:
        log = SqliteInferenceLog(Path(folder) / "log.sqlite3", durability=durability)
        taken = uvloop.run(_append_all(log, records, callers))
        log.close()
    return rows * appends / taken


def measure_bare(rows: int, appends: int, callers: int, durability: Durability) -> float:
    """Return rows per second of executemany with ready blobs, ``callers`` in each commit."""
    record = make_record(rows, 0)
    schema = LogSchema.of(record)
    blob = schema.encode(schema.pack(record)).to_pybytes()
    with tempfile.TemporaryDirectory() as folder:
        connection = sqlite3.connect(Path(folder) / "bare.sqlite3", isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {'FULL' if durability == 'power' else 'NORMAL'}")
        connection.execute(
            "CREATE TABLE tail (id INTEGER PRIMARY KEY, topic_id INTEGER, seq INTEGER,"
            " time_ms INTEGER, rows INTEGER, elapsed_ns TEXT, batch BLOB)"
        )
        connection.execute("CREATE INDEX tail_by_time ON tail (topic_id, time_ms, seq)")
        started = time.perf_counter()
        for first in range(0, appends, callers):
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(
                "INSERT INTO tail (topic_id, seq, time_ms, rows, elapsed_ns, batch)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                [
                    (1, n, 1_700_000_000_000 + n, rows, "21000,210000", blob)
                    for n in range(first, min(first + callers, appends))
                ],
            )
            connection.execute("COMMIT")
        taken = time.perf_counter() - started
        connection.close()
    return rows * appends / taken


def measure_read() -> tuple[float, float]:
    """Return milliseconds for the latest 1,000 of 20,000 single rows, and for the next page."""

    async def fill(log: SqliteInferenceLog) -> None:
        await _append_all(log, [make_record(1, number) for number in range(20_000)], 32)

    with tempfile.TemporaryDirectory() as folder:
        log = SqliteInferenceLog(Path(folder) / "log.sqlite3")
        uvloop.run(fill(log))
        times: list[tuple[float, float]] = []
        for _ in range(5):
            started = time.perf_counter()
            page = log.read(LogQuery("pipeline/1"))
            between = time.perf_counter()
            log.read(LogQuery("pipeline/1", cursor=page.cursor))
            times.append((between - started, time.perf_counter() - between))
        log.close()
    return min(first for first, _ in times) * 1e3, min(second for _, second in times) * 1e3


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    cases: list[tuple[str, int, int, int, Durability, int]] = [
        ("1 row, 32 callers, process", 1, 20_000, 32, "process", 20_000),
        ("1 row, 1 caller, process", 1, 5_000, 1, "process", 0),
        ("1,000 rows, 4 callers, process", 1000, 1_000, 4, "process", 700_000),
        ("1,000 rows, 1 caller, process", 1000, 1_000, 1, "process", 700_000),
        ("1 row, 32 callers, power", 1, 10_000, 32, "power", 0),
    ]
    print(f"{'inference log append':<34}{'rows/s':>12}{'bare sqlite3':>14}{'ratio':>7}  target")
    for name, rows, appends, callers, durability, target in cases:
        figures = [
            (
                measure_log(rows, appends, callers, durability),
                measure_bare(rows, appends, callers, durability),
            )
            for _ in range(rounds)
        ]
        ours, bare = (_median(list(column)) for column in zip(*figures, strict=True))
        told = f"{target:,}" if target else "-"
        print(f"{name:<34}{ours:>12,.0f}{bare:>14,.0f}{ours / bare:>7.2f}  {told}")
    latest, following = measure_read()
    print(f"latest 1,000 single rows {latest:.1f} ms, page after it {following:.1f} ms")


if __name__ == "__main__":
    main()
