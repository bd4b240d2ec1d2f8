"""Metadata on SQLAlchemy: SQLite in WAL mode, or what the URL names."""

from collections import Counter

from sqlalchemy import insert, select

from byop.ports.secrets import SecretBox
from byop.store.database import Database
from byop.store.deployments import SqlDeployments
from byop.store.models import SqlModels
from byop.store.pipelines import SqlPipelines
from byop.store.sealed_rows import count_headers, require_opens, reseal
from byop.store.secrets import key_id_of
from byop.store.tables import sealed_checks
from byop.store.users import SqlUsers
from byop.store.workspaces import SqlWorkspaces

_CHECK = "metadata/secret-key"


class SqlMetadataStore:
    """The port ``MetadataStore``, over one database.

    Opening it creates the tables or migrates them, and makes sure that ``secrets`` holds the key
    that sealed what the database holds.

    Raises:
        SettingsInvalidError: The URL cannot be used.
        SecretKeyInvalidError: It was filled with another key, or a sealed value was changed.
        StorageUnavailableError: It cannot be opened, or is of a newer byop.
    """

    def __init__(self, url: str, *, secrets: SecretBox) -> None:
        self._database = Database(url)
        self._secrets = secrets
        try:
            _check_key(self._database, secrets)
        except BaseException:
            self._database.close()
            raise
        self._users = SqlUsers(self._database)
        self._workspaces = SqlWorkspaces(self._database)
        self._models = SqlModels(self._database)
        self._pipelines = SqlPipelines(self._database)
        self._deployments = SqlDeployments(self._database, secrets)

    @property
    def users(self) -> SqlUsers:
        """Users and confidential clients."""
        return self._users

    @property
    def workspaces(self) -> SqlWorkspaces:
        """Workspaces."""
        return self._workspaces

    @property
    def models(self) -> SqlModels:
        """Models and versions."""
        return self._models

    @property
    def pipelines(self) -> SqlPipelines:
        """Pipelines and versions."""
        return self._pipelines

    @property
    def deployments(self) -> SqlDeployments:
        """Deployments."""
        return self._deployments

    def count_sealed(self) -> dict[str, int]:
        """Return how many values the database holds under each key id."""
        with self._database.read() as connection:
            found: Counter[str] = Counter()
            for (_, header), count in count_headers(connection).items():
                found[key_id_of(header)] += count
        return found

    def require_opens(self) -> None:
        """Raise SecretKeyInvalidError when a sealed value does not open."""
        with self._database.read() as connection:
            require_opens(connection, self._secrets)

    def reseal(self) -> int:
        """Seal every sealed value anew, in one transaction, and return how many they are.

        Raises:
            SecretKeyInvalidError: One does not open; then none was changed.
        """
        with self._database.write() as connection:
            return reseal(connection, self._secrets)

    def close(self) -> None:
        """Release the database."""
        self._database.close()


def _check_key(database: Database, secrets: SecretBox) -> None:
    table = sealed_checks
    with database.write() as connection:
        kept = connection.execute(select(table.c.sealed).where(table.c.name == _CHECK)).scalar()
        if kept is None:
            sealed = secrets.seal("", context=_CHECK)
            connection.execute(insert(table).values(name=_CHECK, sealed=sealed))
        else:
            secrets.open(kept, context=_CHECK)
        for (name, header), count in count_headers(connection).items():
            secrets.require_key_of(header, place=f"{name} ({count})")
        require_opens(connection, secrets)
