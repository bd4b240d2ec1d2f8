"""The inference log's database file: its tables and how connections to it are opened.

``tail`` holds one row per record, or several for a large one: ``rows`` log rows from row number
``seq`` on, all of the time ``time_ms``, as one Arrow IPC message of ``size`` bytes. A small one
is in ``batch``; a large one lies at ``file_offset`` of its partition's batch file
(``log_batches.py``). What repeats (topic, partition, Arrow schema, the constant metadata) is
stored once and referred to.
"""

import secrets
import sqlite3
from pathlib import Path

from byop.errors import StorageUnavailableError
from byop.settings import Durability
from byop.store.write_ahead import enter_wal_mode

VERSION = 1

_PAGE_BYTES = 8192
_CURSOR_KEY_BYTES = 32
_TABLES = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE topics (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE partitions (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE schemas (
    id INTEGER PRIMARY KEY, fingerprint BLOB NOT NULL UNIQUE, arrow_schema BLOB NOT NULL);
CREATE TABLE origins (
    id INTEGER PRIMARY KEY, last_model TEXT NOT NULL, pipeline_version TEXT NOT NULL,
    partition TEXT NOT NULL, dropped TEXT NOT NULL,
    UNIQUE (last_model, pipeline_version, partition, dropped));
CREATE TABLE tail (
    id INTEGER PRIMARY KEY,
    topic_id INTEGER NOT NULL, partition_id INTEGER NOT NULL, seq INTEGER NOT NULL,
    time_ms INTEGER NOT NULL, rows INTEGER NOT NULL,
    schema_id INTEGER NOT NULL, origin_id INTEGER NOT NULL, elapsed_ns TEXT NOT NULL,
    size INTEGER NOT NULL, file_offset INTEGER, batch BLOB,
    CHECK ((file_offset IS NULL) <> (batch IS NULL)));
CREATE INDEX tail_by_time ON tail (topic_id, time_ms, partition_id, seq);
"""


def open_for_writing(
    path: Path, durability: Durability, *, busy_timeout_s: float
) -> sqlite3.Connection:
    """Return a connection for one writer thread; makes the file and its tables when missing.

    Raises:
        StorageUnavailableError: The file cannot be opened, or is of a newer byop.
    """
    try:
        path.touch(mode=0o600)
        connection = sqlite3.connect(
            path, timeout=busy_timeout_s, isolation_level=None, check_same_thread=False
        )
    except (OSError, sqlite3.Error) as error:
        raise StorageUnavailableError(f"cannot open the inference log: {error}") from error
    try:
        _prepare(connection, durability, busy_timeout_s)
    except BaseException as error:
        connection.close()
        if isinstance(error, sqlite3.Error):
            raise StorageUnavailableError(f"cannot open the inference log: {error}") from error
        raise
    return connection


def open_for_reading(path: Path) -> sqlite3.Connection:
    """Return a read-only connection that threads may hand to each other."""
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
    )


def read_cursor_key(connection: sqlite3.Connection) -> bytes:
    """Return the key that signs cursors into this file."""
    row = connection.execute("SELECT value FROM facts WHERE name = 'cursor_key'").fetchone()
    return bytes(row[0])


def _prepare(connection: sqlite3.Connection, durability: Durability, busy_timeout_s: float) -> None:
    connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
    enter_wal_mode(connection, limit_s=busy_timeout_s)
    connection.execute(f"PRAGMA synchronous = {'FULL' if durability == 'power' else 'NORMAL'}")
    connection.execute("BEGIN IMMEDIATE")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise StorageUnavailableError(
            f"the inference log is at version {version}, this byop knows up to {VERSION}: "
            "start the newer byop that wrote it"
        )
    if version == 0:
        for statement in filter(str.strip, _TABLES.split(";")):
            connection.execute(statement)
        connection.execute(
            "INSERT INTO facts VALUES ('cursor_key', ?)", (secrets.token_bytes(_CURSOR_KEY_BYTES),)
        )
        connection.execute(f"PRAGMA user_version = {VERSION}")
    connection.execute("COMMIT")
