"""Group J: what a server meets at its start: an interrupted migration, a twin."""

import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import requests

from byop.store.database import Database
from tests.acceptance.deploying import open_read_only
from tests.fakes.servers import ROOT, running_server, server_environ

_DIE_AT_STATEMENT = """
import os, signal, sys
from sqlalchemy import Engine, event
from byop.store.database import Database

left = int(sys.argv[2])

def count(_connection, _cursor, statement, *_rest):
    global left
    if statement.lstrip().startswith(("CREATE", "INSERT", "ALTER", "DROP", "UPDATE")):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

event.listen(Engine, "after_cursor_execute", count)
Database(f"sqlite:///{sys.argv[1]}")
"""


def _migrate_and_die(path: Path, statement: int) -> int:
    """Migrate in a process that is killed after so many changes; return its exit status."""
    command = [sys.executable, "-c", _DIE_AT_STATEMENT, str(path), str(statement)]
    return subprocess.run(command, cwd=ROOT, timeout=60, check=False).returncode


def _tables(path: Path) -> set[str]:
    with closing(open_read_only(path)) as database:
        found = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    return {name for (name,) in found}


@pytest.mark.parametrize("statement", [1, 2, 9, 20])
def test_j07_migration_killed_anywhere_leaves_nothing_and_runs_again(
    tmp_path: Path, statement: int
) -> None:
    path = tmp_path / "metadata.sqlite3"
    assert _migrate_and_die(path, statement) == -signal.SIGKILL
    assert _tables(path) == set()
    Database(f"sqlite:///{path}").close()
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert {"alembic_version", "users", "model_versions", "deployments"} <= _tables(path)


def test_j08_second_server_on_a_data_directory_refuses_and_the_first_goes_on(
    tmp_path: Path,
) -> None:
    home = tmp_path / "home"
    with running_server(home) as first:
        second = subprocess.run(
            [sys.executable, "-m", "byop", "serve", "--port", "0"],
            cwd=ROOT,
            env=server_environ(home),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert second.returncode == 1
        assert "is in use by another byop server" in second.stderr
        assert str(home) in second.stderr
        assert requests.get(f"{first.url}/ready", timeout=30).ok
        assert (home / "server.lock").read_text() == f"{first.pid}\n"
