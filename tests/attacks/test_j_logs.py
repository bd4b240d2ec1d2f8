"""Group J, the inference log: retention, and rolls that are killed."""

import asyncio
import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from byop.ports.inference_log import LogOrder, LogQuery, LogScan
from byop.store.inference_log import SqliteInferenceLog
from byop.store.log_roller import RollPolicy
from byop.store.log_segments import segment_files, segment_folder
from tests.store.log_records import make_record, numbers_of, pages_of
from tests.store.rolled_log import NOW_MS, follow_all, roll

DAY_MS = 86_400_000
LIMIT_S = 60


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.sqlite3"


def _fill_days(path: Path, days: int) -> None:
    """One segment with 100 rows for each of the last days, the oldest first."""
    for day in reversed(range(days)):
        with closing(SqliteInferenceLog(path)) as log:
            numbers = list(range(day * 100, day * 100 + 100))
            asyncio.run(log.append("t", make_record(numbers, time_ms=NOW_MS - day * DAY_MS)))
        roll(path)


def _numbers(path: Path) -> list[int]:
    with closing(SqliteInferenceLog(path)) as log:
        query = LogQuery("t", order=LogOrder.ASCENDING, limit=1000)
        return [number for page in pages_of(log, query) for number in numbers_of(page)]


def test_j19_retention_by_age_removes_whole_segments_and_their_files(path: Path) -> None:
    _fill_days(path, 5)
    roll(path, RollPolicy(retention_days=2))
    assert sorted(_numbers(path)) == list(range(300))
    assert len(list(segment_files(segment_folder(path)))) == 3


def test_j19_retention_by_age_reaches_rows_that_no_other_limit_would_roll(path: Path) -> None:
    with closing(SqliteInferenceLog(path)) as log:
        asyncio.run(log.append("t", make_record([1], time_ms=NOW_MS - 3 * DAY_MS)))
        asyncio.run(log.append("u", make_record([2], time_ms=NOW_MS)))
        roll(path, RollPolicy(age_s=1000 * 86_400, retention_days=2))
        assert log.read(LogQuery("t")).records == []
        assert numbers_of(log.read(LogQuery("u"))) == [2]


def test_j19_retention_by_size_removes_the_oldest(path: Path) -> None:
    _fill_days(path, 5)
    sizes = [file.stat().st_size for file in segment_files(segment_folder(path))]
    roll(path, RollPolicy(retention_bytes=sum(sizes) - min(sizes)))
    assert sorted(_numbers(path)) == list(range(400))
    roll(path, RollPolicy(retention_bytes=1))
    assert _numbers(path) == []
    assert list(segment_files(segment_folder(path))) == []


def test_j19_nothing_is_removed_by_default(path: Path) -> None:
    _fill_days(path, 3)
    roll(path, RollPolicy(), now_ms=NOW_MS + 10_000 * DAY_MS)
    assert sorted(_numbers(path)) == list(range(300))


@contextmanager
def _running(module: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", f"tests.store.{module}", *arguments]
    child = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def _acknowledged(lines: list[bytes]) -> set[int]:
    return {int(line.split()[0]) for line in lines if line.endswith(b"\n")}


@pytest.mark.parametrize("width", [1, 700], ids=["in the database", "in batch files"])
def test_j20_rolls_killed_anywhere_neither_lose_nor_double_rows(path: Path, width: int) -> None:
    """One process appends, another rolls and is killed again and again, a third reads."""
    seed = random.SystemRandom().randrange(1 << 30)
    chance = random.Random(seed)  # noqa: S311 (where to kill)
    records = 4000 if width == 1 else 300
    SqliteInferenceLog(path).close()
    arguments = (str(path), str(records), "process", str(width))
    with _running("append_process", *arguments) as writer:
        for _ in range(6):
            with _running("roll_process", str(path), "0") as roller:
                assert roller.stdout is not None
                roller.stdout.readline()
                time.sleep(chance.random() * 0.15)  # Where in a pass the kill falls.
        lines = (writer.communicate(timeout=LIMIT_S)[0]).splitlines(keepends=True)
    assert len(_acknowledged(lines)) == records
    _assert_whole(path, records * width, seed)
    roll(path)
    _assert_whole(path, records * width, seed)
    _assert_no_orphans(path)


def _assert_whole(path: Path, rows: int, seed: int) -> None:
    expected = list(range(rows))
    with closing(SqliteInferenceLog(path)) as log:
        for order in LogOrder:
            pages = list(pages_of(log, LogQuery("t", order=order, limit=5000)))
            read = [number for page in pages for number in numbers_of(page)]
            assert not any(page.missing for page in pages), seed
            times = [record.time_ms for page in pages for record in page.records]
            assert times == sorted(times, reverse=order is LogOrder.DESCENDING), seed
            assert sorted(read) == expected, seed
        followed = [n for page in follow_all(log, "t", limit=5000) for n in numbers_of(page)]
        assert sorted(followed) == expected, seed
        scanned = [n for batch in log.scan(LogScan("t")) for n in batch.column("in.n").to_pylist()]
        assert sorted(scanned) == expected, seed


def _assert_no_orphans(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("SELECT count(*) FROM tail").fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM removals").fetchone() == (0,)
        known = {name for (name,) in connection.execute("SELECT name FROM segments")}
    folder = segment_folder(path)
    assert {str(file.relative_to(folder)) for file in segment_files(folder)} == known
    batches = path.with_name(path.name + ".batches")
    assert not batches.exists() or list(batches.iterdir()) == []


def test_j20_retention_killed_anywhere_leaves_no_half_segment(path: Path) -> None:
    """What is read is always the newest rows, without a gap, and no file is missed."""
    seed = random.SystemRandom().randrange(1 << 30)
    chance = random.Random(seed)  # noqa: S311 (where to kill)
    SqliteInferenceLog(path).close()
    with _running("append_process", str(path), "4000", "process", "1") as writer:
        for _ in range(6):
            with _running("roll_process", str(path), "20000") as roller:
                assert roller.stdout is not None
                roller.stdout.readline()
                time.sleep(chance.random() * 0.1)  # Where in a pass the kill falls.
        writer.communicate(timeout=LIMIT_S)
    roll(path, RollPolicy(rows=1, retention_bytes=20_000))
    with closing(SqliteInferenceLog(path)) as log:
        sequences: list[int] = []
        for page in follow_all(log, "t"):
            assert page.missing == [], seed
            for position, record in zip(page.positions, page.records, strict=True):
                sequences += range(position.sequence, position.sequence + record.rows)
        assert len(set(sequences)) == len(sequences), seed
    _assert_no_orphans(path)


def test_j20_readers_of_other_processes_never_meet_a_missing_file(path: Path) -> None:
    """While one process appends and one rolls, this one reads every row once."""
    records = 200
    with closing(SqliteInferenceLog(path)) as log:
        arguments = (str(path), str(records), "process", "700")
        with (
            _running("append_process", *arguments) as writer,
            _running("roll_process", str(path), "0"),
        ):
            seen: list[int] = []
            watermark = None
            deadline_s = time.monotonic() + LIMIT_S
            while len(seen) < records * 700 and time.monotonic() < deadline_s:
                page = log.follow("t", watermark=watermark, limit=10_000)
                watermark = page.watermark
                seen += numbers_of(page)
                newest = log.read(LogQuery("t"))
                assert (list(page.missing), list(newest.missing)) == ([], [])
            writer.communicate(timeout=LIMIT_S)
    assert sorted(seen) == list(range(records * 700))
