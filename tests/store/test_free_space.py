import asyncio
from contextlib import closing
from pathlib import Path

import pytest

from byop.errors import StorageFullError
from byop.ports.inference_log import LogQuery
from byop.store.blobs import FileBlobStore
from byop.store.free_space import FreeSpaceFloor
from byop.store.inference_log import SqliteInferenceLog
from tests.store.log_records import make_record, numbers_of

MORE_THAN_ANY_DISK = 1 << 60


def test_disk_with_less_than_the_floor_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(StorageFullError, match="BYOP_MIN_FREE_BYTES"):
        FreeSpaceFloor(tmp_path, MORE_THAN_ANY_DISK).check()


@pytest.mark.parametrize("min_free_bytes", [0, 1])
def test_disk_with_more_is_written(tmp_path: Path, min_free_bytes: int) -> None:
    FreeSpaceFloor(tmp_path, min_free_bytes).check()


def test_disk_that_cannot_be_asked_is_written(tmp_path: Path) -> None:
    FreeSpaceFloor(tmp_path / "none", MORE_THAN_ANY_DISK).check()


def test_log_below_the_floor_refuses_rows_and_is_read(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite3"
    with closing(SqliteInferenceLog(path)) as log:
        asyncio.run(log.append("t", make_record([1])))
    with closing(SqliteInferenceLog(path, min_free_bytes=MORE_THAN_ANY_DISK)) as log:
        with pytest.raises(StorageFullError):
            asyncio.run(log.append("t", make_record([2])))
        assert numbers_of(log.read(LogQuery("t"))) == [1]


def test_upload_below_the_floor_is_refused_before_it_begins_and_files_are_read(
    tmp_path: Path,
) -> None:
    incoming = FileBlobStore(tmp_path).begin(limit_bytes=1)
    incoming.write(b"x")
    sha = incoming.commit().sha
    incoming.discard()
    blobs = FileBlobStore(tmp_path, min_free_bytes=MORE_THAN_ANY_DISK)
    with pytest.raises(StorageFullError, match="BYOP_MIN_FREE_BYTES"):
        blobs.begin(limit_bytes=1)
    assert list((tmp_path / "incoming").iterdir()) == []
    assert blobs.verified_path(sha).read_bytes() == b"x"
