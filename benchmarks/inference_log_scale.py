"""Speed of an inference log of 1,000,000 rows, against pyarrow reading one plain Parquet file.

Run as ``python -m benchmarks.inference_log_scale``. Rows are logged by requests of one row, as in
``benchmarks.inference_log``, and rolled but for the newest.
"""

import argparse
import asyncio
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
import uvloop

from benchmarks.inference_log import make_record
from byop.ports.inference_log import LogOrder, LogQuery, LogScan
from byop.store.inference_log import SqliteInferenceLog
from byop.store.log_roller import LogRoller, RollPolicy
from byop.store.log_segments import segment_files, segment_folder

_TOPIC = "pipeline-1"
_FIRST_MS = 1_700_000_000_000
_ROWS_PER_MS = 10
_CALLERS = 32
_PARTS = 10
_FRACTIONS = (0.0, 0.25, 0.5, 0.75, 0.95)


async def _append(log: SqliteInferenceLog, first: int, rows: int) -> list[float]:
    """Append rows and return the seconds that each append took."""
    taken: list[float] = []
    template = make_record(rows, first)

    async def caller(start: int) -> None:
        for number in range(start, first + rows, _CALLERS):
            record = template.slice(number - first, 1)
            record = replace(record, time_ms=_FIRST_MS + number // _ROWS_PER_MS)
            started = time.perf_counter()
            await log.append(_TOPIC, record)
            taken.append(time.perf_counter() - started)

    await asyncio.gather(*(caller(first + one) for one in range(_CALLERS)))
    return sorted(taken)


def _roll(path: Path) -> None:
    LogRoller(path, RollPolicy(rows=1), now_ms=lambda: _FIRST_MS).run()


def _fill(log: SqliteInferenceLog, path: Path, rows: int) -> None:
    """Append ``rows`` rows; those of the last part stay in the database."""
    part = rows // _PARTS
    rolled_s = 0.0
    for number in range(_PARTS):
        uvloop.run(_append(log, number * part, part))
        if number < _PARTS - 1:
            started = time.perf_counter()
            _roll(path)
            rolled_s = time.perf_counter() - started
    print(f"{'roll':<34}{part / rolled_s:>14,.0f} rows/s")


def _median_ms(read: Callable[[], object], rounds: int) -> float:
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        read()
        times.append(time.perf_counter() - started)
    return sorted(times)[len(times) // 2] * 1e3


def _measure_pages(log: SqliteInferenceLog, plain: Path, rows: int, rounds: int) -> None:
    with pq.ParquetFile(plain) as file:
        group_ms = _median_ms(lambda: file.read_row_group(file.num_row_groups // 2), rounds)
    print(f"{'plain Parquet: one row group':<34}{group_ms:>14.2f} ms")
    latest_ms = _median_ms(lambda: log.read(LogQuery(_TOPIC)), rounds)
    print(f"{'latest 1,000':<34}{latest_ms:>14.2f} ms{latest_ms / group_ms:>8.1f}  target 10")
    pages = []
    for fraction in _FRACTIONS:
        at_ms = _FIRST_MS + int(rows * fraction) // _ROWS_PER_MS
        for query in (
            LogQuery(_TOPIC, order=LogOrder.ASCENDING, start_ms=at_ms, end_ms=1 << 60),
            LogQuery(_TOPIC, start_ms=0, end_ms=at_ms + 1000),
        ):
            following = replace(query, cursor=log.read(query).cursor)
            pages += [_median_ms(partial(log.read, one), rounds) for one in (query, following)]
    worst = max(pages)
    ratio = worst / group_ms
    print(f"{'a page of 1,000, slowest place':<34}{worst:>14.2f} ms{ratio:>8.1f}  target 20")
    watermark = log.follow(_TOPIC, limit=rows // 2).watermark
    follow_ms = _median_ms(lambda: log.follow(_TOPIC, watermark=watermark), rounds)
    print(f"{'follow: next 1,000':<34}{follow_ms:>14.2f} ms{follow_ms / group_ms:>8.1f}")


def _measure_scans(log: SqliteInferenceLog, plain: Path, rounds: int) -> None:
    def read_plain() -> int:
        with pq.ParquetFile(plain) as file:
            return sum(batch.num_rows for batch in file.iter_batches())

    def rate(count: Callable[[], int]) -> float:
        rates = []
        for _ in range(rounds):
            started = time.perf_counter()
            rows = count()
            rates.append(rows / (time.perf_counter() - started))
        return sorted(rates)[len(rates) // 2]

    reference = rate(read_plain)
    print(f"{'plain Parquet: all':<34}{reference:>14,.0f} rows/s")
    for name, columns in (("scan", None), ("scan of one column", ["out.dense_1"])):
        scan = LogScan(_TOPIC, columns=columns)
        found = rate(lambda scan=scan: sum(b.num_rows for b in log.scan(scan)))  # type: ignore[misc]
        print(f"{name:<34}{found:>14,.0f} rows/s{found / reference:>6.2f}  target 1,000,000")


def _measure_appends(log: SqliteInferenceLog, path: Path, rows: int) -> None:
    """Print how long appends take alone, and while what was appended is rolled."""
    part = rows // _PARTS
    for name, is_rolled in (("appends alone", False), ("appends during rolls", True)):
        is_done = threading.Event()

        def roll_until_done(is_done: threading.Event = is_done) -> None:
            while not is_done.is_set():
                _roll(path)

        roller = threading.Thread(target=roll_until_done)
        if is_rolled:
            roller.start()
        started = time.perf_counter()
        taken = uvloop.run(_append(log, rows, part))
        rate = part / (time.perf_counter() - started)
        is_done.set()
        if is_rolled:
            roller.join()
        middle, late = taken[part // 2] * 1e3, taken[part * 99 // 100] * 1e3
        print(
            f"{name:<34}{rate:>14,.0f} rows/s; median {middle:.1f} ms, 99 % {late:.1f} ms,"
            f" longest {taken[-1] * 1e3:.0f} ms"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.sqlite3"
        with closing(SqliteInferenceLog(path)) as log:
            _fill(log, path, arguments.rows)
            files = list(segment_files(segment_folder(path)))
            size = sum(file.stat().st_size for file in files)
            rolled = arguments.rows - arguments.rows // _PARTS
            print(f"{'a rolled row':<34}{size / rolled:>14.1f} bytes     target 150")
            plain = Path(folder) / "plain.parquet"
            pq.write_table(pq.read_table(files), plain, compression="zstd", row_group_size=4096)
            _measure_pages(log, plain, arguments.rows, arguments.rounds)
            _measure_scans(log, plain, arguments.rounds)
            _measure_appends(log, path, arguments.rows)


if __name__ == "__main__":
    main()
