"""The inference log's database file: its tables and how connections to it are opened.

``tail`` holds one row per record, or several for a large one: ``rows`` log rows from row number
``seq`` on, all of the time ``time_ms``, as one Arrow IPC message of ``size`` bytes. A small one
is in ``batch``; a large one lies at ``file_offset`` of its partition's batch file
(``log_batches.py``). What repeats (topic, partition, Arrow schema, the constant metadata) is
stored once and referred to.

``segments`` is the manifest of rolled rows, ``segment_groups`` the first and last row of each row
group of a segment in (time, partition, sequence) order, ``segment_places`` the row numbers
``first_seq`` to before ``end_seq`` among which a row group has some of a partition's. Rows of
``tail`` below the ``end_seq`` of ``removals`` are rolled: nobody reads them, and they are deleted
soon.
"""

import secrets
import sqlite3
from pathlib import Path

from byop.errors import StorageUnavailableError
from byop.settings import Durability
from byop.store.write_ahead import enter_wal_mode

VERSION = 2

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
_SEGMENTS = """
CREATE INDEX tail_by_place ON tail (topic_id, partition_id, seq);
CREATE INDEX tail_by_file ON tail (partition_id, file_offset) WHERE file_offset IS NOT NULL;
CREATE TABLE segments (
    id INTEGER PRIMARY KEY, topic_id INTEGER NOT NULL, schema_id INTEGER NOT NULL,
    name TEXT NOT NULL UNIQUE, rows INTEGER NOT NULL, size INTEGER NOT NULL,
    first_ms INTEGER NOT NULL, last_ms INTEGER NOT NULL);
CREATE INDEX segments_by_first ON segments (topic_id, first_ms, last_ms);
CREATE INDEX segments_by_last ON segments (topic_id, last_ms, first_ms);
CREATE INDEX segments_by_age ON segments (last_ms, size);
CREATE TABLE segment_groups (
    segment_id INTEGER NOT NULL, number INTEGER NOT NULL, rows INTEGER NOT NULL,
    first_ms INTEGER NOT NULL, first_partition_id INTEGER NOT NULL, first_seq INTEGER NOT NULL,
    last_ms INTEGER NOT NULL, last_partition_id INTEGER NOT NULL, last_seq INTEGER NOT NULL,
    PRIMARY KEY (segment_id, number)) WITHOUT ROWID;
CREATE TABLE segment_places (
    topic_id INTEGER NOT NULL, partition_id INTEGER NOT NULL, first_seq INTEGER NOT NULL,
    end_seq INTEGER NOT NULL, segment_id INTEGER NOT NULL, number INTEGER NOT NULL,
    rows INTEGER NOT NULL,
    PRIMARY KEY (topic_id, partition_id, first_seq, segment_id, number)) WITHOUT ROWID;
CREATE INDEX segment_places_by_segment ON segment_places (segment_id);
CREATE TABLE removals (
    topic_id INTEGER NOT NULL, partition_id INTEGER NOT NULL, end_seq INTEGER NOT NULL,
    PRIMARY KEY (topic_id, partition_id)) WITHOUT ROWID;
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
        _execute_each(connection, _TABLES)
        connection.execute(
            "INSERT INTO facts VALUES ('cursor_key', ?)", (secrets.token_bytes(_CURSOR_KEY_BYTES),)
        )
    if version < VERSION:
        _execute_each(connection, _SEGMENTS)
        connection.execute(f"PRAGMA user_version = {VERSION}")
    connection.execute("COMMIT")


def _execute_each(connection: sqlite3.Connection, statements: str) -> None:
    for statement in filter(str.strip, statements.split(";")):
        connection.execute(statement)
