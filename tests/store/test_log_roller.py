"""What rolls leave on the disk, and what is lost with a file."""

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import duckdb
import polars as pl
import pytest

from byop.errors import StorageUnavailableError
from byop.ports.inference_log import LogOrder, LogQuery, LogScan
from byop.store.inference_log import SqliteInferenceLog
from byop.store.log_batches import batch_folder
from byop.store.log_roller import LogRoller, RollPolicy
from byop.store.log_segments import segment_files, segment_folder
from tests.store.log_records import make_other_record, make_record, numbers_of, pages_of
from tests.store.rolled_log import NOW_MS, follow_all, roll

LARGE = list(range(4000))
LIMIT_S = 30


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.sqlite3"


def _append(path: Path, *records: list[int], topic: str = "t", first_ms: int = 0) -> None:
    with closing(SqliteInferenceLog(path)) as log:
        for time_ms, numbers in enumerate(records, first_ms):
            asyncio.run(log.append(topic, make_record(numbers, time_ms=time_ms)))


def _segments(path: Path) -> list[Path]:
    return sorted(segment_files(segment_folder(path)))


def test_segment_is_private_and_read_by_others_as_it_lies(path: Path) -> None:
    _append(path, [1, 2], [3], topic="pipeline-7")
    roll(path)
    (file,) = _segments(path)
    assert file.parent.name == "pipeline-7"
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    frame = pl.read_parquet(file)
    assert frame["in.n"].to_list() == [1, 2, 3]
    assert frame["out.told"].to_list() == ["row 1", "row 2", "row 3"]
    assert frame["sequence"].to_list() == [0, 1, 2]
    assert frame["record"].to_list() == [0, 0, 2]
    assert frame["metadata.elapsed_ns"].to_list() == [[21, 3_000_000_000]] * 3
    assert [at.timestamp() for at in frame["time"]] == [0.0, 0.0, 0.001]


def test_duckdb_reads_segments_as_the_documents_show(path: Path) -> None:
    _append(path, [1, 2], [3], topic="pipeline-7")
    roll(path)
    _append(path, [4], first_ms=5, topic="pipeline-7")
    roll(path)
    files = segment_folder(path) / "pipeline-7" / "*.parquet"
    with closing(duckdb.connect()) as connection:
        found = connection.execute(
            'SELECT epoch_ms(time), "out.told", sequence, "metadata.elapsed_ns"'
            " FROM read_parquet(?) ORDER BY time, sequence",
            [str(files)],
        ).fetchall()
    elapsed = [21, 3_000_000_000]
    assert found == [
        (0, "row 1", 0, elapsed),
        (0, "row 2", 1, elapsed),
        (1, "row 3", 2, elapsed),
        (5, "row 4", 0, elapsed),
    ]


def test_topic_that_can_be_no_folder_has_one(path: Path) -> None:
    topics = ["..", "a/b", "x" * 300, "ü", "."]
    for topic in topics:
        _append(path, [1], topic=topic)
    roll(path)
    assert len({file.parent for file in _segments(path)}) == len(topics)
    assert {file.parents[1] for file in _segments(path)} == {segment_folder(path)}
    with closing(SqliteInferenceLog(path)) as log:
        assert all(numbers_of(log.read(LogQuery(topic))) == [1] for topic in topics)


def test_each_set_of_columns_has_its_segment(path: Path) -> None:
    _append(path, [1], [2])
    with closing(SqliteInferenceLog(path)) as log:
        asyncio.run(log.append("t", make_other_record([3], time_ms=9)))
    roll(path)
    assert len(_segments(path)) == 2


@pytest.mark.parametrize(
    ("policy", "is_rolled"),
    [
        (RollPolicy(rows=3), True),
        (RollPolicy(rows=4), False),
        (RollPolicy(size_bytes=100), True),
        (RollPolicy(age_s=60), True),
        (RollPolicy(age_s=61), False),
    ],
)
def test_topic_is_rolled_for_its_rows_its_bytes_or_its_age(
    path: Path, policy: RollPolicy, is_rolled: bool
) -> None:
    _append(path, [1, 2, 3], first_ms=NOW_MS - 60_000)
    roll(path, policy)
    assert bool(_segments(path)) is is_rolled


def test_files_that_no_roll_finished_are_removed_and_others_are_not(path: Path) -> None:
    _append(path, [1])
    roll(path)
    (file,) = _segments(path)
    for orphan in ("orphan.parquet", "unfinished.parquet.new"):
        (file.parent / orphan).write_bytes(b"?")
    roll(path)
    assert _segments(path) == [file]


def test_second_roller_leaves_the_work_to_the_first(path: Path) -> None:
    _append(path, [1])
    second = LogRoller(path, RollPolicy(rows=1), now_ms=lambda: NOW_MS)
    found: list[bool] = []

    def try_meanwhile() -> int:
        found.append(second.run())
        return NOW_MS

    assert LogRoller(path, RollPolicy(rows=1), now_ms=try_meanwhile).run()
    assert set(found) == {False}
    assert second.run()


def test_batch_file_is_deleted_when_its_writer_ended_and_its_rows_are_rolled(path: Path) -> None:
    with closing(SqliteInferenceLog(path)) as log:
        asyncio.run(log.append("t", make_record(LARGE)))
        roll(path)
        assert len(list(batch_folder(path).iterdir())) == 1
        asyncio.run(log.append("t", make_record(LARGE)))
    roll(path, RollPolicy(age_s=1 << 40))
    assert len(list(batch_folder(path).iterdir())) == 1
    roll(path)
    assert list(batch_folder(path).iterdir()) == []
    with closing(SqliteInferenceLog(path)) as log:
        assert numbers_of(log.read(LogQuery("t", limit=10_000))) == (LARGE * 2)[::-1]


def _spoil(file: Path) -> None:
    content = bytearray(file.read_bytes())
    for place in range(8, len(content) // 2):
        content[place] ^= 0xFF
    file.write_bytes(content)


@pytest.mark.parametrize("spoil", [Path.unlink, _spoil, lambda file: os.truncate(file, 100)])
def test_segment_that_is_gone_or_damaged_is_told_and_the_rest_is_read(
    path: Path, spoil: Callable[[Path], None]
) -> None:
    for first in (0, 10, 20):
        _append(path, [first, first + 1], [first + 2], first_ms=first)
        roll(path)
    spoil(_segments(path)[1])
    _append(path, [30], first_ms=30)
    with closing(SqliteInferenceLog(path)) as log:
        for order in LogOrder:
            pages = list(pages_of(log, LogQuery("t", order=order, limit=2)))
            numbers = [number for page in pages for number in numbers_of(page)]
            assert sorted(numbers) == [0, 1, 2, 20, 21, 22, 30]
            assert [missing.rows for page in pages for missing in page.missing] == [3]
        followed = list(follow_all(log, "t"))
        numbers = [number for page in followed for number in numbers_of(page)]
        assert sorted(numbers) == [0, 1, 2, 20, 21, 22, 30]
        assert sum(missing.rows for page in followed for missing in page.missing) == 3
        assert log.follow("t", watermark=followed[-1].watermark).missing == []
        with pytest.raises(StorageUnavailableError, match="missing"):
            list(log.scan(LogScan("t")))
        assert list(log.scan(LogScan("t", start_ms=20)))


def test_batch_that_was_lost_before_its_roll_is_told_after_it(path: Path) -> None:
    _append(path, [-1], LARGE, [-2])
    (file,) = batch_folder(path).iterdir()
    os.truncate(file, 100)
    roll(path)
    with closing(SqliteInferenceLog(path)) as log:
        page = log.read(LogQuery("t"))
        assert numbers_of(page) == [-2, -1]
        assert [missing.rows for missing in page.missing] == [len(LARGE)]
        assert [missing.rows for missing in log.follow("t").missing] == [len(LARGE)]


def test_log_rolls_in_the_background_when_enough_was_appended(path: Path) -> None:
    with closing(SqliteInferenceLog(path, rolling=RollPolicy(rows=50))) as log:
        deadline_s = time.monotonic() + LIMIT_S
        count = 0
        while len(_segments(path)) < 3 and time.monotonic() < deadline_s:
            asyncio.run(log.append("t", make_record([count], time_ms=NOW_MS * 2 + count)))
            count += 1
        assert numbers_of(log.read(LogQuery("t", limit=10_000))) == list(range(count))[::-1]
    assert len(_segments(path)) >= 3


def test_rolled_rows_leave_the_database(path: Path) -> None:
    _append(path, *([number] for number in range(50)))
    roll(path)
    with closing(sqlite3.connect(path)) as connection:
        for table, rows in (("tail", 0), ("removals", 0), ("segments", 1)):
            found = connection.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608
            assert found == (rows,)
