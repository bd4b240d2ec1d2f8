import asyncio
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pytest

from byop.errors import StorageUnavailableError
from byop.ports.inference_log import LogOrder, LogQuery, LogScan
from byop.store.inference_log import SqliteInferenceLog
from byop.store.log_batches import (
    BatchFile,
    BatchFiles,
    batch_folder,
    file_number,
    locked_file,
)
from tests.store.log_records import make_record, numbers_of

LARGE = list(range(4000))


def test_batches_lie_one_after_the_other_and_are_read_back(tmp_path: Path) -> None:
    file, files = BatchFile(tmp_path / "b", "p"), BatchFiles(tmp_path / "b")
    offsets = [file.append(pa.py_buffer(text)) for text in (b"one", b"", b"three")]
    assert offsets == [0, 3, 3]
    assert files.read("p", 0, 3) == b"one"
    assert files.read("p", 3, 5) == b"three"
    file.close()
    files.close()


def test_cut_forgets_what_was_not_committed(tmp_path: Path) -> None:
    file, files = BatchFile(tmp_path / "b", "p"), BatchFiles(tmp_path / "b")
    file.append(pa.py_buffer(b"kept"))
    end = file.end
    file.append(pa.py_buffer(b"void"))
    file.cut(end)
    assert file.append(pa.py_buffer(b"next")) == end
    assert files.read("p", 0, 8) == b"keptnext"
    file.close()
    files.close()


def test_file_that_is_too_short_or_gone_is_an_error(tmp_path: Path) -> None:
    file, files = BatchFile(tmp_path / "b", "p"), BatchFiles(tmp_path / "b")
    file.append(pa.py_buffer(b"short"))
    with pytest.raises(OSError, match="ends before 9"):
        files.read("p", 0, 9)
    with pytest.raises(FileNotFoundError):
        files.read("nobody", 0, 1)
    file.close()
    files.close()


def test_file_is_made_for_the_first_large_record_and_is_private(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite3"
    with closing(SqliteInferenceLog(path)) as log:
        asyncio.run(log.append("t", make_record([1])))
        assert not batch_folder(path).exists()
        asyncio.run(log.append("t", make_record(LARGE)))
        (file,) = batch_folder(path).iterdir()
        assert file.name == log.partition
        assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
        size = file.stat().st_size
    with closing(sqlite3.connect(path)) as connection:
        stored = connection.execute("SELECT size, file_offset, length(batch) FROM tail").fetchall()
    (small, none, inline), large = stored
    assert (small, none) == (inline, None)
    assert large == (size, 0, None)


@pytest.mark.parametrize("order", list(LogOrder))
def test_large_and_small_records_are_read_in_order(tmp_path: Path, order: LogOrder) -> None:
    path = tmp_path / "log.sqlite3"
    wanted = [-1, *LARGE, -2]
    with closing(SqliteInferenceLog(path)) as log:
        for time_ms, rows in enumerate(([-1], LARGE, [-2])):
            asyncio.run(log.append("t", make_record(rows, time_ms=time_ms)))
        page = log.read(LogQuery("t", order=order, limit=10_000))
    assert numbers_of(page) == (wanted if order is LogOrder.ASCENDING else wanted[::-1])


def test_another_log_on_the_same_file_reads_the_batches(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite3"
    with closing(SqliteInferenceLog(path)) as first, closing(SqliteInferenceLog(path)) as second:
        asyncio.run(first.append("t", make_record(LARGE, time_ms=1)))
        asyncio.run(second.append("t", make_record(LARGE, time_ms=2)))
        assert len(numbers_of(first.read(LogQuery("t", limit=10_000)))) == 2 * len(LARGE)
        assert len(list(batch_folder(path).iterdir())) == 2


def test_lost_batch_is_told_and_the_page_goes_on_past_it(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite3"
    with closing(SqliteInferenceLog(path)) as log:
        asyncio.run(log.append("t", make_record([1], time_ms=1)))
        asyncio.run(log.append("t", make_record(LARGE, time_ms=2)))
        asyncio.run(log.append("t", make_record([2], time_ms=3)))
    (file,) = batch_folder(path).iterdir()
    os.truncate(file, 100)
    with closing(SqliteInferenceLog(path)) as log:
        for order in LogOrder:
            page = log.read(LogQuery("t", order=order))
            assert sorted(numbers_of(page)) == [1, 2]
            (missing,) = page.missing
            assert missing.rows == len(LARGE)
            assert "ends before" in missing.reason
        followed = log.follow("t")
        assert [position.sequence for position in followed.positions] == [0, 1 + len(LARGE)]
        assert [missing.rows for missing in followed.missing] == [len(LARGE)]
        assert log.follow("t", watermark=followed.watermark).missing == []
        with pytest.raises(StorageUnavailableError, match="missing"):
            list(log.scan(LogScan("t")))


def test_writer_goes_on_in_a_next_file_and_leaves_the_full_one_to_be_deleted(
    tmp_path: Path,
) -> None:
    file, files = BatchFile(tmp_path / "b", "p"), BatchFiles(tmp_path / "b")
    file.append(pa.py_buffer(bytes(64 << 20)))
    with locked_file(tmp_path / "b" / "p") as is_mine:
        assert not is_mine
    file.turn_over()
    place = file.append(pa.py_buffer(b"next"))
    file.turn_over()
    file.append(pa.py_buffer(b"more"))
    with locked_file(tmp_path / "b" / "p") as is_mine:
        assert is_mine
    assert file_number(place) == 1
    assert files.read("p", place, 8) == b"nextmore"
    file.cut(place + 4)
    assert (tmp_path / "b" / "p.1").read_bytes() == b"next"
    file.close()
    files.close()
