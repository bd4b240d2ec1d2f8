"""Every sealed value of the metadata database: where it is and what it is bound to."""

from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

from sqlalchemy import Column, Connection, LargeBinary, RowMapping, Table, func, select, update

from byop.ports.secrets import SecretBox, client_secret_context
from byop.store.deployments import variable_context
from byop.store.secrets import HEADER_BYTES
from byop.store.tables import confidential_clients, deployment_variables, sealed_checks


class _SealedColumn(NamedTuple):
    """A column of sealed values, the column that finds a row, and what a row's is bound to."""

    table: Table
    key: Column[Any]
    column: Column[bytes]
    context: Callable[[RowMapping], str]


_SEALED = (
    _SealedColumn(
        sealed_checks, sealed_checks.c.name, sealed_checks.c.sealed, lambda row: str(row["name"])
    ),
    _SealedColumn(
        confidential_clients,
        confidential_clients.c.client_id,
        confidential_clients.c.sealed_secret,
        lambda row: client_secret_context(row["client_id"]),
    ),
    _SealedColumn(
        deployment_variables,
        deployment_variables.c.id,
        deployment_variables.c.sealed_value,
        lambda row: variable_context((row["deployment_id"], row["model_version_id"]), row["name"]),
    ),
)


def count_headers(connection: Connection) -> Counter[tuple[str, bytes]]:
    """Return how many values each table has under each header, which names a key."""
    found: Counter[tuple[str, bytes]] = Counter()
    for sealed in _SEALED:
        header = func.substr(sealed.column, 1, HEADER_BYTES, type_=LargeBinary)
        for value, count in connection.execute(select(header, func.count()).group_by(header)):
            found[sealed.table.name, bytes(value)] += count
    return found


def require_opens(connection: Connection, secrets: SecretBox) -> None:
    """Raise SecretKeyInvalidError when a value does not open."""
    for sealed in _SEALED:
        for row in connection.execute(select(sealed.table)).mappings():
            secrets.open(row[sealed.column], context=sealed.context(row))


def reseal(connection: Connection, secrets: SecretBox) -> int:
    """Seal every value anew and return how many they are, all in the caller's transaction.

    Raises:
        SecretKeyInvalidError: One does not open.
    """
    count = 0
    for sealed in _SEALED:
        for row in connection.execute(select(sealed.table)).mappings().all():
            context = sealed.context(row)
            plain = secrets.open(row[sealed.column], context=context)
            connection.execute(
                update(sealed.table)
                .where(sealed.key == row[sealed.key])
                .values({sealed.column: secrets.seal(plain, context=context)})
            )
            count += 1
    return count
