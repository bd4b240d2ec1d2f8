"""The metadata database: engine, transactions, errors."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import ConnectionPoolEntry

from byop.errors import (
    AlreadyExistsError,
    InvalidInputError,
    NotFoundError,
    SettingsInvalidError,
    StorageFullError,
    StorageUnavailableError,
    storage_error,
)
from byop.store.migrations.runner import migrate
from byop.store.write_ahead import enter_wal_mode

_BUSY_TIMEOUT_MS = 5000
_IS_WRITE = "byop_is_write"
_SQLITE_TAKEN = {"SQLITE_CONSTRAINT_UNIQUE", "SQLITE_CONSTRAINT_PRIMARYKEY"}
_SQLITE_FULL = {"SQLITE_FULL", "SQLITE_IOERR_WRITE", "SQLITE_IOERR_SHMSIZE"}
_POSTGRES_TAKEN = "23505"
_POSTGRES_FULL = "53100"


class Database:
    """One database behind a connection pool, brought to today's revision when it is opened."""

    def __init__(self, url: str) -> None:
        """Open it.

        Raises:
            SettingsInvalidError: The URL cannot be used.
            StorageUnavailableError: The database cannot be opened, or is of a newer byop.
        """
        self._engine = _open_engine(url)
        self._writer = self._engine.execution_options(**{_IS_WRITE: True})
        try:
            with self.write() as connection:
                migrate(connection)
        except TypeError as error:  # what drivers say of a parameter that they do not know
            self.close()
            raise _unusable(f"has a part that its driver refuses: {error}") from None
        except BaseException:
            self.close()
            raise

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Give a connection that sees one state of the database."""
        try:
            with self._engine.begin() as connection:
                yield connection
        except (DBAPIError, PoolTimeoutError) as error:
            raise _refusal(error) from error
        except (OverflowError, UnicodeEncodeError):
            raise _unstorable() from None

    @contextmanager
    def write(self, *, unique: tuple[str, str] | None = None) -> Iterator[Connection]:
        """Give a connection inside a transaction that nobody else writes in between.

        ``unique`` is the kind and the name that AlreadyExistsError tells when a unique column has
        the value already.
        """
        try:
            with self._writer.begin() as connection:
                yield connection
        except IntegrityError as error:
            if unique is not None and _is_taken(error):
                raise AlreadyExistsError(*unique) from error
            raise NotFoundError("row referred to", type(error.orig).__name__) from error
        except (DBAPIError, PoolTimeoutError) as error:
            raise _refusal(error) from error
        except (OverflowError, UnicodeEncodeError):
            raise _unstorable() from None

    def close(self) -> None:
        """Release every connection."""
        self._engine.dispose()


def _open_engine(url: str) -> Engine:
    """Return the engine. Of the URL no error repeats more than a driver's name: it may hold a key.

    Parameters stay out of error texts too: among them are password hashes.
    """
    try:
        address = make_url(url)
        engine = create_engine(address, hide_parameters=True)
    except NoSuchModuleError as error:
        raise _unusable(f"names a database or driver that byop does not know: {error}") from None
    except ImportError as error:
        raise _unusable(f"needs the package {error.name}, which is not installed") from None
    except (ArgumentError, TypeError, ValueError) as error:
        why = f"is no SQLAlchemy URL ({type(error).__name__}); see docs/settings.md"
        raise _unusable(why) from None
    if engine.dialect.name == "sqlite":
        _make_private_file(address)
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _make_private_file(address: URL) -> None:
    """Create the file 0600 before SQLite would by the umask; -wal and -shm take its mode."""
    if not address.database or address.database == ":memory:":
        raise SettingsInvalidError("BYOP_DATABASE_URL", "must name a file")
    try:
        Path(address.database).touch(mode=0o600)
    except OSError as error:
        raise storage_error("cannot open the metadata", error) from error


def _prepare_sqlite(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    """Leave transactions to ``_begin_sqlite``: the driver would begin too late, and deferred."""
    if not isinstance(connection, sqlite3.Connection):
        return
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")
    enter_wal_mode(connection, limit_s=_BUSY_TIMEOUT_MS / 1000)
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")


def _begin_sqlite(connection: Connection) -> None:
    is_write = connection.get_execution_options().get(_IS_WRITE, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if is_write else "BEGIN")


def _unusable(why: str) -> SettingsInvalidError:
    return SettingsInvalidError("BYOP_DATABASE_URL", why)


def _is_taken(error: IntegrityError) -> bool:
    name = getattr(error.orig, "sqlite_errorname", None)
    return name in _SQLITE_TAKEN or getattr(error.orig, "sqlstate", None) == _POSTGRES_TAKEN


def _unstorable() -> InvalidInputError:
    """Return the error for ids and names that no column can hold, so that none has them."""
    return InvalidInputError(
        "a number is beyond 64 bits, or a text holds a lone surrogate: neither can be looked up "
        "or stored"
    )


def _refusal(error: DBAPIError | PoolTimeoutError) -> StorageUnavailableError:
    if isinstance(error, PoolTimeoutError):
        return StorageUnavailableError("the metadata database refuses: no connection came free")
    if _is_full(error):
        return StorageFullError(
            f"the metadata takes no more ({error.orig}): free space on its disk, or raise the"
            " quota or the limit on file sizes; reading goes on"
        )
    return StorageUnavailableError(f"the metadata database refuses: {error.orig}")


def _is_full(error: DBAPIError) -> bool:
    """Return whether no room was left: on the disk, in a quota, below a limit on file sizes.

    SQLite has a code of its own for the first alone; of the others it says that a write failed.
    """
    name = getattr(error.orig, "sqlite_errorname", None)
    return name in _SQLITE_FULL or getattr(error.orig, "sqlstate", None) == _POSTGRES_FULL
