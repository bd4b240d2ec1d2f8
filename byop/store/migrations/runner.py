"""Brings a metadata database to today's revision."""

from pathlib import Path

from sqlalchemy import Connection, inspect, text

from byop.errors import StorageUnavailableError

HEAD = "0001"
"""The newest revision in ``versions``."""


def migrate(connection: Connection) -> None:
    """Run the missing revisions inside the connection's transaction.

    Alembic is imported only when there is something to do: it costs 0.1 s and 10 MB.

    Raises:
        StorageUnavailableError: A newer byop made the database.
    """
    if _current(connection) == HEAD:
        return
    from alembic import command  # noqa: PLC0415 (see above)
    from alembic.config import Config  # noqa: PLC0415
    from alembic.util import CommandError  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, HEAD)
    except CommandError as error:
        raise StorageUnavailableError(
            f"the metadata database is of another byop, probably a newer one: {error}"
        ) from error


def _current(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
