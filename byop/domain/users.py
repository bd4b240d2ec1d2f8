"""Users, confidential clients and who a request speaks for."""

from dataclasses import dataclass
from datetime import datetime

from typing_extensions import override

from byop.domain.identifiers import UserId

ADMIN_ROLE = "admin"
API_CLIENT = "api-client"
"""The confidential client that is there from the start (seed 001, "Through Keycloak")."""
SDK_CLIENT = "sdk-client"
"""The public client that the real SDK names in its password grant."""


@dataclass(frozen=True, slots=True)
class User:
    """A person who may log in. ``password_hash`` is argon2id and never leaves the services."""

    id: UserId
    email: str
    username: str
    is_admin: bool
    is_enabled: bool
    created_at: datetime
    password_hash: str = ""

    @override
    def __repr__(self) -> str:
        return f"User(id={self.id!r}, email={self.email!r})"


@dataclass(frozen=True, slots=True)
class ConfidentialClient:
    """A program that may call inference with its own secret. The secret is stored encrypted."""

    client_id: str
    service_user_id: UserId
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Principal:
    """Who a verified token speaks for.

    ``user_id`` is None for a client-credentials token, which may call inference and nothing else.
    """

    user_id: UserId | None
    client_id: str
    email: str = ""
    is_admin: bool = False
