import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from byop.store.write_ahead import enter_wal_mode


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "some.sqlite3"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE t (x)")
    return path


@pytest.fixture
def busy(path: Path) -> Iterator[sqlite3.Connection]:
    """Give a connection that keeps the file from being switched until it commits."""
    holder = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    holder.execute("BEGIN EXCLUSIVE")
    yield holder
    holder.close()


def test_switch_waits_for_one_who_holds_the_file(path: Path, busy: sqlite3.Connection) -> None:
    waits = threading.Event()

    class Watched(sqlite3.Connection):
        def execute(self, *arguments: str) -> sqlite3.Cursor:  # type: ignore[override]  # narrower
            try:
                return super().execute(*arguments)
            finally:
                waits.set()

    def let_go() -> None:
        waits.wait(30)
        busy.execute("COMMIT")

    other = threading.Thread(target=let_go)
    other.start()
    with closing(sqlite3.connect(path, timeout=0, factory=Watched)) as connection:
        enter_wal_mode(connection, limit_s=30)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    other.join()


@pytest.mark.usefixtures("busy")
def test_switch_gives_up_after_its_limit(path: Path) -> None:
    with (
        closing(sqlite3.connect(path, timeout=0)) as connection,
        pytest.raises(sqlite3.OperationalError, match="locked"),
    ):
        enter_wal_mode(connection, limit_s=0)


def test_another_error_is_raised_at_once(tmp_path: Path) -> None:
    broken = tmp_path / "broken.sqlite3"
    broken.write_bytes(b"this is no database, whatever its name says" * 100)
    with closing(sqlite3.connect(broken)) as connection, pytest.raises(sqlite3.DatabaseError):
        enter_wal_mode(connection, limit_s=30)
