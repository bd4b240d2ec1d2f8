"""What is particular to the SQLite log: its file, its limits, its neighbours."""

import asyncio
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from byop.domain.inferences import InferenceRecord, no_anomalies
from byop.errors import InvalidPayloadError, StorageUnavailableError
from byop.ports.inference_log import LogOrder, LogPosition, LogQuery, LogScan, PageStatus
from byop.settings import Durability
from byop.store.inference_log import SqliteInferenceLog
from byop.store.log_batches import batch_folder
from byop.store.log_rows import CHUNK_BYTES
from byop.store.log_segments import LogKey, segment_folder
from byop.store.log_snapshot import everything, tail_statement, time_conditions
from tests.store.log_filling import kept_records
from tests.store.log_records import (
    METADATA,
    make_record,
    numbers_of,
    pages_of,
)
from tests.store.rolled_log import roll

ASCENDING, DESCENDING = LogOrder.ASCENDING, LogOrder.DESCENDING
KEPT = sorted((Path(__file__).parent / "data").glob("inference-log-v*.sqlite3"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log #1?.sqlite3"


@pytest.fixture
def log(path: Path) -> Iterator[SqliteInferenceLog]:
    with closing(SqliteInferenceLog(path)) as opened:
        yield opened


def _make_large_record(rows: int) -> InferenceRecord:
    """A record of about 8 kB a row."""
    values = np.arange(rows * 2000, dtype=np.float32)
    column = pa.FixedSizeListArray.from_arrays(pa.array(values), 2000)
    batch = pa.RecordBatch.from_arrays([column], names=["x"])
    outputs = pa.RecordBatch.from_pydict({"n": pa.array(range(rows))})
    return InferenceRecord(5, batch, outputs, no_anomalies(rows), METADATA)


async def test_large_record_is_stored_in_parts_with_dense_sequences(
    log: SqliteInferenceLog, path: Path
) -> None:
    rows = 3 * CHUNK_BYTES // 8000
    record = _make_large_record(rows)
    assert (await log.append("t", record)).sequence == 0
    assert (await log.append("t", make_record([1]))).sequence == rows
    with closing(sqlite3.connect(path)) as connection:
        parts = connection.execute("SELECT seq, rows, size FROM tail ORDER BY seq")
        places = [(seq, count) for seq, count, size in parts if size <= CHUNK_BYTES * 1.1]
    assert len(places) == 5
    assert [seq + count for seq, count in places[:-1]] == [seq for seq, _ in places[1:]]
    kept = log.read(LogQuery("t", order=ASCENDING, limit=rows, end_ms=6)).records
    assert pa.Table.from_batches(r.inputs for r in kept) == pa.Table.from_batches([record.inputs])
    newest = log.read(LogQuery("t", limit=3, end_ms=6)).records
    assert newest[0].outputs.column("n").to_pylist() == [rows - 1, rows - 2, rows - 3]


async def test_page_ends_at_its_bytes_but_never_empty(path: Path) -> None:
    with closing(SqliteInferenceLog(path, page_bytes=1000)) as log:
        for number in range(5):
            await log.append("t", make_record([number], time_ms=number))
        await log.append("t", make_record(list(range(5, 500)), time_ms=9))
        pages = list(pages_of(log, LogQuery("t", order=ASCENDING)))
    assert [number for page in pages for number in numbers_of(page)] == list(range(500))
    assert len(pages) > 2
    assert {page.status for page in pages[:-1]} == {PageStatus.BYTE_LIMITED}
    assert pages[-1].status is PageStatus.ALL


async def test_record_whose_datasets_differ_in_length_is_refused_and_others_are_not(
    log: SqliteInferenceLog,
) -> None:
    wrong = replace(make_record([1, 2]), anomalies=no_anomalies(3))
    outcomes = await asyncio.gather(
        log.append("t", make_record([1])),
        log.append("t", wrong),
        log.append("t", make_record([2])),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes] == [LogPosition, ValueError, LogPosition]
    assert numbers_of(log.read(LogQuery("t", order=ASCENDING))) == [1, 2]


@pytest.mark.parametrize(
    "change", [{"time_ms": 1 << 63}, {"metadata": replace(METADATA, last_model="\ud800")}]
)
async def test_record_that_cannot_be_stored_is_refused_and_its_neighbours_are_not(
    log: SqliteInferenceLog, change: dict[str, object]
) -> None:
    wrong = replace(make_record([9]), **change)  # type: ignore[arg-type]  # any field
    outcomes = await asyncio.gather(
        log.append("t", make_record([1])),
        log.append("t", wrong),
        log.append("t", make_record([2])),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes] == [
        LogPosition,
        StorageUnavailableError,
        LogPosition,
    ]
    assert numbers_of(log.read(LogQuery("t", order=ASCENDING))) == [1, 2]


async def test_rows_are_visible_to_another_process_at_once(
    log: SqliteInferenceLog, path: Path
) -> None:
    await log.append("t", make_record([1, 2, 3]))
    script = (
        "import sqlite3, sys\n"
        "print(sqlite3.connect(sys.argv[1]).execute('SELECT sum(rows) FROM tail').fetchone()[0])"
    )
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, str(path), stdout=subprocess.PIPE
    )
    told, _ = await child.communicate()
    assert told == b"3\n"


async def test_two_writers_share_the_file_under_their_own_partitions(
    log: SqliteInferenceLog, path: Path
) -> None:
    with closing(SqliteInferenceLog(path)) as other:
        positions = await asyncio.gather(
            *(one.append("t", make_record([n])) for n in range(20) for one in (log, other))
        )
        assert {position.partition for position in positions} == {log.partition, other.partition}
        for partition in (log.partition, other.partition):
            mine = [one.sequence for one in positions if one.partition == partition]
            assert sorted(mine) == list(range(20))
        assert numbers_of(log.read(LogQuery("t"))) == numbers_of(other.read(LogQuery("t")))


def _spoil_batch(path: Path, seq: int, change: str) -> None:
    """Change the stored bytes of a row of the database: ``change`` is an SQL expression."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"UPDATE tail SET batch = {change} WHERE seq = ?", (seq,))  # noqa: S608 (constants)
        connection.commit()


@pytest.mark.parametrize("order", LogOrder)
@pytest.mark.parametrize("count", [2, 5])
@pytest.mark.parametrize(
    "change", ["x'00'", "substr(batch, 1, 40)", "zeroblob(size)", "substr(batch, 1, size - 64)"]
)
async def test_damaged_batch_in_the_database_is_told_and_the_rest_is_read(
    path: Path, log: SqliteInferenceLog, change: str, count: int, order: LogOrder
) -> None:
    for number in range(count):
        await log.append("t", make_record([number], time_ms=number))
    _spoil_batch(path, 1, change)
    expected = [number for number in range(count) if number != 1]
    page = log.read(LogQuery("t", order=order))
    assert sorted(numbers_of(page)) == expected
    assert [missing.rows for missing in page.missing] == [1]
    followed = log.follow("t")
    assert numbers_of(followed) == expected
    assert [position.sequence for position in followed.positions] == expected
    assert [missing.rows for missing in followed.missing] == [1]
    with pytest.raises(StorageUnavailableError, match="missing"):
        list(log.scan(LogScan("t")))
    roll(path)
    rolled = log.read(LogQuery("t", order=order))
    assert sorted(numbers_of(rolled)) == expected
    assert [missing.rows for missing in rolled.missing] == [1]


async def test_batch_with_other_rows_than_its_place_says_is_missing(
    path: Path, log: SqliteInferenceLog
) -> None:
    for numbers in ([0], [1], [2, 3]):
        await log.append("t", make_record(numbers, time_ms=numbers[0]))
    _spoil_batch(path, 1, "(SELECT batch FROM tail WHERE seq = 2)")
    page = log.read(LogQuery("t"))
    assert numbers_of(page) == [3, 2, 0]
    assert [missing.rows for missing in page.missing] == [1]


async def test_reopened_log_appends_under_a_new_partition_after_the_old_rows(path: Path) -> None:
    with closing(SqliteInferenceLog(path)) as first:
        before = await first.append("t", make_record([1]))
        cursor_query = LogQuery("t", limit=1)
        await first.append("t", make_record([2]))
        cursor = first.read(cursor_query).cursor
    with closing(SqliteInferenceLog(path)) as second:
        after = await second.append("t", make_record([3]))
        assert after.partition != before.partition
        assert numbers_of(second.read(LogQuery("t", order=ASCENDING))) == [1, 2, 3]
        assert numbers_of(second.read(replace(cursor_query, cursor=cursor))) == [1]


async def test_cursor_of_another_log_is_refused(log: SqliteInferenceLog, tmp_path: Path) -> None:
    query = LogQuery("t", limit=1)
    with closing(SqliteInferenceLog(tmp_path / "other.sqlite3")) as other:
        await other.append("t", make_record([1, 2]))
        cursor = other.read(query).cursor
    with pytest.raises(InvalidPayloadError):
        log.read(replace(query, cursor=cursor))


async def test_locked_file_refuses_the_append_and_the_next_one_succeeds(path: Path) -> None:
    with (
        closing(SqliteInferenceLog(path, busy_timeout_s=0.01)) as log,
        closing(sqlite3.connect(path, isolation_level=None)) as other,
    ):
        other.execute("BEGIN IMMEDIATE")
        outcomes = await asyncio.gather(
            *(log.append("t", make_record([n])) for n in range(3)), return_exceptions=True
        )
        assert {type(outcome) for outcome in outcomes} == {StorageUnavailableError}
        other.execute("ROLLBACK")
        assert (await log.append("t", make_record([7]))).sequence == 0
        assert numbers_of(log.read(LogQuery("t"))) == [7]


async def test_append_beyond_the_queue_limit_is_refused_and_those_waiting_are_written(
    path: Path,
) -> None:
    with (
        closing(SqliteInferenceLog(path, queue_limit=4)) as log,
        closing(sqlite3.connect(path, isolation_level=None)) as other,
    ):
        other.execute("BEGIN IMMEDIATE")
        tasks = [asyncio.create_task(log.append("t", make_record([0])))]
        await asyncio.sleep(0)
        async with asyncio.timeout(10):
            # Until the writer took it and waits for the lock: no event tells.
            while not log._writer._waiting.empty():  # noqa: ASYNC110
                await asyncio.sleep(0)
        tasks += [asyncio.create_task(log.append("t", make_record([n]))) for n in range(1, 5)]
        await asyncio.sleep(0)
        with pytest.raises(StorageUnavailableError, match="4 appends wait"):
            await log.append("t", make_record([5]))
        other.execute("ROLLBACK")
        assert [position.sequence for position in await asyncio.gather(*tasks)] == [0, 1, 2, 3, 4]
        assert numbers_of(log.read(LogQuery("t", order=ASCENDING))) == [0, 1, 2, 3, 4]


async def test_cancelled_append_disturbs_no_other(log: SqliteInferenceLog, path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        tasks = [asyncio.create_task(log.append("t", make_record([n]))) for n in range(3)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        other.execute("ROLLBACK")
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(outcomes[0], LogPosition)
    assert isinstance(outcomes[1], asyncio.CancelledError)
    assert isinstance(outcomes[2], LogPosition)


async def test_close_writes_what_waits_and_can_be_repeated(path: Path) -> None:
    log = SqliteInferenceLog(path)
    tasks = [asyncio.create_task(log.append("t", make_record([n]))) for n in range(50)]
    await asyncio.sleep(0)
    await asyncio.to_thread(log.close)
    assert len(await asyncio.gather(*tasks)) == 50
    log.close()
    with closing(SqliteInferenceLog(path)) as again:
        assert len(numbers_of(again.read(LogQuery("t")))) == 50


def test_loop_that_ended_before_its_answer_disturbs_no_other(path: Path) -> None:
    with (
        closing(SqliteInferenceLog(path)) as log,
        closing(sqlite3.connect(path, isolation_level=None)) as other,
    ):
        other.execute("BEGIN IMMEDIATE")
        loop = asyncio.new_event_loop()
        task = loop.create_task(log.append("t", make_record([1])))
        loop.run_until_complete(asyncio.sleep(0))
        task.cancel()
        loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
        loop.close()
        other.execute("ROLLBACK")
        assert asyncio.run(log.append("t", make_record([2]))).sequence == 1


async def test_threads_read_while_rows_are_appended_and_see_whole_records_only(
    log: SqliteInferenceLog,
) -> None:
    is_done = threading.Event()

    def watch() -> int:
        reads = 0
        while not is_done.is_set() or reads == 0:
            numbers = numbers_of(log.read(LogQuery("t", order=ASCENDING, limit=10_000)))
            assert numbers == list(range(len(numbers)))
            assert len(numbers) % 3 == 0
            reads += 1
        return reads

    with ThreadPoolExecutor(4) as pool:
        watchers = [pool.submit(watch) for _ in range(4)]
        for first in range(0, 300, 3):
            await log.append("t", make_record([first, first + 1, first + 2], time_ms=first))
        is_done.set()
        assert all(watcher.result() > 0 for watcher in watchers)


@pytest.mark.parametrize(("durability", "level"), [("process", 1), ("power", 2)])
def test_durability_chooses_how_commits_are_flushed(
    path: Path, durability: Durability, level: int
) -> None:
    with closing(SqliteInferenceLog(path, durability=durability)) as log:
        connection = log._writer._connection
        assert connection.execute("PRAGMA synchronous").fetchone() == (level,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


async def test_files_are_private(log: SqliteInferenceLog, path: Path) -> None:
    await log.append("t", make_record([1]))
    files = list(path.parent.iterdir())
    assert len(files) == 3
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}


@pytest.mark.parametrize("order", LogOrder)
@pytest.mark.parametrize("times", [(None, None), (10, 20)])
@pytest.mark.parametrize("low", [None, LogKey(11, 2, 3)])
def test_pages_are_found_by_index_without_sorting(
    log: SqliteInferenceLog,
    path: Path,
    order: LogOrder,
    times: tuple[int | None, int | None],
    low: LogKey | None,
) -> None:
    assert log.read(LogQuery("t")).records == []
    window = everything(order, *times)
    if low is not None:
        window = window._replace(low=low, stored_seq=3)
    conditions, values, by = time_conditions(window)
    statement, bound = tail_statement(1, [(1, 5)], conditions, by)
    with closing(sqlite3.connect(path)) as connection:
        plan = str(connection.execute(f"EXPLAIN QUERY PLAN {statement}", bound + values).fetchall())
    assert "USING INDEX tail_by_time (topic_id=? AND time_ms>? AND time_ms<?)" in plan
    assert "TEMP B-TREE" not in plan


def test_new_log_may_be_opened_by_many_at_once(path: Path) -> None:
    barrier = threading.Barrier(6)

    def open_and_append(number: int) -> None:
        barrier.wait()
        with closing(SqliteInferenceLog(path)) as log:
            asyncio.run(log.append("t", make_record([number])))

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(open_and_append, range(6)))
    with closing(SqliteInferenceLog(path)) as log:
        assert sorted(numbers_of(log.read(LogQuery("t")))) == list(range(6))


def test_log_of_a_newer_byop_is_refused(path: Path) -> None:
    SqliteInferenceLog(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(StorageUnavailableError, match="99"):
        SqliteInferenceLog(path)


def test_file_that_is_no_database_is_refused(path: Path) -> None:
    path.write_bytes(b"this is no database" * 100)
    with pytest.raises(StorageUnavailableError):
        SqliteInferenceLog(path)


def test_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageUnavailableError):
        SqliteInferenceLog(tmp_path / "none" / "log.sqlite3")


@pytest.mark.parametrize("is_rolled", [False, True])
@pytest.mark.parametrize("kept", KEPT, ids=lambda kept: kept.stem)
async def test_kept_log_opens_reads_as_it_was_written_and_takes_more(
    path: Path, kept: Path, is_rolled: bool
) -> None:
    for source, copy in (
        (batch_folder(kept), batch_folder(path)),
        (segment_folder(kept), segment_folder(path)),
    ):
        if source.exists():
            shutil.copytree(source, copy)
    shutil.copy(kept, path)
    SqliteInferenceLog(path).close()
    if is_rolled:
        roll(path)
    with closing(SqliteInferenceLog(path)) as log:
        for topic, records in kept_records().items():
            pages = pages_of(log, LogQuery(topic, order=ASCENDING, limit=5000))
            assert [record for page in pages for record in page.records] == records
        await log.append("numbers", make_record([99], time_ms=9999))
        assert numbers_of(log.read(LogQuery("numbers", limit=1))) == [99]
