"""SQLite's WAL mode: readers do not wait for the writer, nor it for them."""

import sqlite3
import time

_PAUSE_S = 0.01


def enter_wal_mode(connection: sqlite3.Connection, *, limit_s: float) -> None:
    """Switch the file to WAL mode, waiting up to ``limit_s`` for others who do the same.

    SQLite does not heed the connection's busy timeout in the switch, which a new file needs once.
    """
    deadline_s = time.monotonic() + limit_s
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            is_busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not is_busy or time.monotonic() >= deadline_s:
                raise
            time.sleep(_PAUSE_S)
        else:
            return
