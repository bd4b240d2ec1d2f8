"""Users and confidential clients: first start, log-in, client authentication."""

import hmac
import secrets
import threading
import uuid
from contextlib import suppress
from dataclasses import dataclass

import argon2
from typing_extensions import override

from byop.domain.identifiers import UserId
from byop.domain.users import API_CLIENT, SDK_CLIENT, ConfidentialClient, Principal, User
from byop.domain.workspaces import default_workspace_name
from byop.errors import AlreadyExistsError, NotAuthenticatedError
from byop.ports.clock import Clock
from byop.ports.metadata import MetadataStore
from byop.ports.secrets import SecretBox, client_secret_context
from byop.services.access import Access

_PARALLEL_HASHES = 2
"""An argon2id check takes 64 MiB: twenty log-ins at once must not take 1.3 GiB."""

_UNKNOWN = "user name or password is wrong"


@dataclass(frozen=True, slots=True)
class InitialCredentials:
    """What the first start makes up, told once."""

    username: str
    password: str
    client_id: str
    client_secret: str

    @override
    def __repr__(self) -> str:
        return f"InitialCredentials(username={self.username!r}, client_id={self.client_id!r})"


def make_up_credentials(email: str, password: str) -> InitialCredentials:
    """Return credentials for a first start; an empty ``password`` is made up too."""
    return InitialCredentials(
        username=email,
        password=password or secrets.token_urlsafe(18),
        client_id=API_CLIENT,
        client_secret=secrets.token_urlsafe(32),
    )


class IdentityService:
    """Logs users and programs in."""

    def __init__(self, *, metadata: MetadataStore, secret_box: SecretBox, clock: Clock) -> None:
        self._metadata = metadata
        self._box = secret_box
        self._clock = clock
        self._access = Access(metadata)
        self._hasher = argon2.PasswordHasher()
        self._hashing = threading.BoundedSemaphore(_PARALLEL_HASHES)
        self._decoy = ""

    def is_set_up(self) -> bool:
        """Return whether an administrator and the confidential client are there."""
        users = self._metadata.users
        has_administrator = any(user.is_admin for user in users.list_all())
        return has_administrator and users.get_client(API_CLIENT) is not None

    def set_up(self, credentials: InitialCredentials) -> None:
        """Make the administrator and the confidential client, each unless it is there."""
        user = self._metadata.users.find(credentials.username)
        if user is None:
            self.create_user(
                email=credentials.username, password=credentials.password, is_admin=True
            )
        else:
            self._complete(user)
        if self._metadata.users.get_client(credentials.client_id) is None:
            self.create_client(credentials.client_id, credentials.client_secret)

    def create_user(self, *, email: str, password: str, is_admin: bool = False) -> User:
        """Store a new user with a workspace of their own and return them."""
        with self._hashing:
            digest = self._hasher.hash(password)
        user = User(
            id=UserId(str(uuid.uuid4())),
            email=email,
            username=email,
            is_admin=is_admin,
            is_enabled=True,
            created_at=self._clock.now(),
            password_hash=digest,
        )
        self._metadata.users.add(user)
        self._complete(user)
        return user

    def create_client(self, client_id: str, secret: str) -> ConfidentialClient:
        """Store a confidential client, its secret encrypted, and return it."""
        if client_id == SDK_CLIENT:
            raise AlreadyExistsError("client", client_id)
        client = ConfidentialClient(
            client_id=client_id,
            service_user_id=UserId(str(uuid.uuid4())),
            created_at=self._clock.now(),
        )
        sealed = self._box.seal(secret, context=client_secret_context(client_id))
        self._metadata.users.add_client(client, sealed_secret=sealed)
        return client

    def log_in(self, login: str, password: str) -> User:
        """Return the enabled user with that email or username and password.

        Takes as long for an unknown name as for a wrong password. Blocking: argon2.

        Raises:
            NotAuthenticatedError: Unknown, wrong or disabled; the message does not say which.
        """
        user = self._metadata.users.find(login)
        with self._hashing:
            matches = self._matches(user.password_hash if user else self._unknown_hash(), password)
        if user is None or not matches or not user.is_enabled:
            raise NotAuthenticatedError(_UNKNOWN)
        return user

    def authenticate_client(self, client_id: str, secret: str | None) -> str:
        """Return ``client_id`` when it may ask for tokens with that secret.

        Raises:
            NotAuthenticatedError: Unknown client or wrong secret.
        """
        if client_id == SDK_CLIENT:
            return client_id
        found = self._metadata.users.get_client(client_id)
        if found is not None and secret is not None:
            kept = self._box.open(found[1], context=client_secret_context(client_id))
            if hmac.compare_digest(kept.encode(), secret.encode()):
                return client_id
        raise NotAuthenticatedError("client id or client secret is wrong")

    def principal_of(self, user: User, client_id: str) -> Principal:
        """Return who a token of ``user`` speaks for."""
        return Principal(
            user_id=user.id, client_id=client_id, email=user.email, is_admin=user.is_admin
        )

    def list_users(self, principal: Principal) -> list[User]:
        """Return every user."""
        self._access.user(principal)
        return self._metadata.users.list_all()

    def _complete(self, user: User) -> None:
        """Make the user's own workspace, unless it is there: a crash may have come before it."""
        with suppress(AlreadyExistsError):
            self._metadata.workspaces.add(
                default_workspace_name(user.email), owner=user.id, created_at=self._clock.now()
            )

    def _matches(self, digest: str, password: str) -> bool:
        try:
            return self._hasher.verify(digest, password)
        except argon2.exceptions.VerificationError:
            return False

    def _unknown_hash(self) -> str:
        if not self._decoy:
            self._decoy = self._hasher.hash(secrets.token_urlsafe(16))
        return self._decoy
