"""Users and confidential clients in the metadata database."""

from sqlalchemy import Row, insert, select

from byop.domain.identifiers import UserId
from byop.domain.users import ConfidentialClient, User
from byop.store.database import Database
from byop.store.tables import confidential_clients, users


class SqlUsers:
    """The port ``Users``. An email wins over a username when both are the login."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, user: User) -> None:
        """Insert the user."""
        with self._database.write(unique=("user", user.email)) as connection:
            connection.execute(
                insert(users).values(
                    id=user.id,
                    email=user.email,
                    email_key=_key(user.email),
                    username=user.username,
                    username_key=_key(user.username),
                    is_admin=user.is_admin,
                    is_enabled=user.is_enabled,
                    password_hash=user.password_hash,
                    created_at=user.created_at,
                )
            )

    def get(self, user_id: UserId) -> User | None:
        """Select by id."""
        with self._database.read() as connection:
            row = connection.execute(select(users).where(users.c.id == user_id)).first()
        return None if row is None else _user(row)

    def find(self, login: str) -> User | None:
        """Select by email or username."""
        key = _key(login)
        query = (
            select(users)
            .where((users.c.email_key == key) | (users.c.username_key == key))
            .order_by((users.c.email_key == key).desc(), users.c.created_at, users.c.id)
        )
        with self._database.read() as connection:
            row = connection.execute(query).first()
        return None if row is None else _user(row)

    def list_all(self) -> list[User]:
        """Select all."""
        query = select(users).order_by(users.c.created_at, users.c.id)
        with self._database.read() as connection:
            return [_user(row) for row in connection.execute(query)]

    def add_client(self, client: ConfidentialClient, *, sealed_secret: bytes) -> None:
        """Insert the client."""
        with self._database.write(unique=("client", client.client_id)) as connection:
            connection.execute(
                insert(confidential_clients).values(
                    client_id=client.client_id,
                    service_user_id=client.service_user_id,
                    sealed_secret=sealed_secret,
                    created_at=client.created_at,
                )
            )

    def get_client(self, client_id: str) -> tuple[ConfidentialClient, bytes] | None:
        """Select by id."""
        table = confidential_clients
        with self._database.read() as connection:
            row = connection.execute(select(table).where(table.c.client_id == client_id)).first()
        if row is None:
            return None
        client = ConfidentialClient(row.client_id, UserId(row.service_user_id), row.created_at)
        return client, row.sealed_secret


def _key(name: str) -> str:
    return name.casefold()


def _user(row: Row[tuple[object, ...]]) -> User:
    return User(
        id=UserId(row.id),
        email=row.email,
        username=row.username,
        is_admin=row.is_admin,
        is_enabled=row.is_enabled,
        created_at=row.created_at,
        password_hash=row.password_hash,
    )
