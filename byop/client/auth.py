"""Tokens: fetched, renewed ahead of their expiry, one renewal at a time."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, assert_never

import jwt
import requests
from typing_extensions import override

from byop.client.answers import int_at, text_at
from byop.client.credentials import BearerToken, Connection, UserPassword
from byop.client.unreachable import unreachable
from byop.errors import ApiError, NotAuthenticatedError

TOKEN_PATH = "/auth/realms/master/protocol/openid-connect/token"  # noqa: S105 - a route
_CLIENT_ID = "sdk-client"
_MARGIN_S = 60.0
_MARGIN_PART = 0.2
_REFUSED = (400, 401, 403)


class Auth(Protocol):
    """Who the client speaks for. Safe from several threads."""

    def token(self) -> str:
        """Return an access token that has not expired, fetching one when needed.

        Raises:
            NotAuthenticatedError: The token service refuses.
        """

    def renew(self, refused: str) -> str:
        """Return another token than ``refused``, which a server did not take.

        Raises:
            NotAuthenticatedError: There is no other.
        """

    def auth_header(self) -> dict[str, str]:
        """Return a fresh ``{"Authorization": "Bearer ..."}`` to send with any request."""

    def user_id(self) -> str:
        """Return the user's id as the token tells it; empty when it does not."""

    def user_email(self) -> str:
        """Return the user's email as the token tells it; empty when it does not."""


def open_auth(connection: Connection) -> Auth:
    """Return the Auth that the connection's credentials ask for. Sends nothing yet."""
    match connection.credentials:
        case UserPassword() as user:
            return PasswordAuth(
                user, endpoint=connection.auth_endpoint, timeout_s=connection.request_timeout_s
            )
        case BearerToken() as token:
            return StaticAuth(token)
        case other:
            assert_never(other)


class StaticAuth(Auth):
    """A token that was handed in."""

    def __init__(self, credentials: BearerToken) -> None:
        self._credentials = credentials

    @override
    def token(self) -> str:
        return self._credentials.token

    @override
    def renew(self, refused: str) -> str:
        del refused
        raise NotAuthenticatedError(
            "the server refused the token, and auth_type 'token' cannot fetch another: put a new "
            "one into the file that WALLAROO_SDK_CREDENTIALS names"
        )

    @override
    def auth_header(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token()}"}

    @override
    def user_id(self) -> str:
        return self._credentials.user_id or _claim(self.token(), "sub")

    @override
    def user_email(self) -> str:
        return self._credentials.email or _claim(self.token(), "email")


@dataclass(frozen=True, slots=True)
class _Held:
    access: str
    refresh: str
    renew_at: float
    refresh_until: float


class PasswordAuth(Auth):
    """The password grant, then refresh grants, then the password again when those are refused."""

    def __init__(
        self,
        user: UserPassword,
        *,
        endpoint: str,
        timeout_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._user = user
        self._endpoint = endpoint
        self._url = endpoint + TOKEN_PATH
        self._timeout_s = timeout_s
        self._clock = clock
        self._lock = threading.Lock()
        self._held: _Held | None = None

    @override
    def token(self) -> str:
        held = self._held
        if held is not None and self._clock() < held.renew_at:
            return held.access
        return self._replace(held)

    @override
    def renew(self, refused: str) -> str:
        held = self._held
        if held is not None and held.access != refused:
            return held.access
        return self._replace(held)

    @override
    def auth_header(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token()}"}

    @override
    def user_id(self) -> str:
        return _claim(self.token(), "sub")

    @override
    def user_email(self) -> str:
        return _claim(self.token(), "email") or self._user.username

    def _replace(self, seen: _Held | None) -> str:
        """Fetch a token in place of ``seen``, unless another thread has done so meanwhile."""
        with self._lock:
            held = self._held
            if held is None or held is seen:
                held = self._held = self._fetch(held)
            return held.access

    def _fetch(self, held: _Held | None) -> _Held:
        if held is not None and held.refresh and self._clock() < held.refresh_until:
            answer = self._post({"grant_type": "refresh_token", "refresh_token": held.refresh})
            if answer.ok:
                return self._read(answer)
            if answer.status_code not in _REFUSED:
                raise _refusal(self._url, self._user.username, answer)
        answer = self._post(
            {
                "grant_type": "password",
                "username": self._user.username,
                "password": self._user.password,
            }
        )
        if not answer.ok:
            raise _refusal(self._url, self._user.username, answer)
        return self._read(answer)

    def _post(self, form: Mapping[str, str]) -> requests.Response:
        with requests.Session() as session:
            # Without an `auth` of its own, requests would add what a ~/.netrc says.
            session.auth = _add_nothing
            try:
                return session.post(
                    self._url, data={"client_id": _CLIENT_ID, **form}, timeout=self._timeout_s
                )
            except requests.RequestException as error:
                raise unreachable(self._endpoint, error) from error

    def _read(self, answer: requests.Response) -> _Held:
        body = _json(answer)
        now = self._clock()
        life_s = int_at(body, "expires_in")
        return _Held(
            access=text_at(body, "access_token"),
            refresh=text_at(body, "refresh_token"),
            renew_at=now + life_s - min(_MARGIN_S, life_s * _MARGIN_PART),
            refresh_until=now + int_at(body, "refresh_expires_in"),
        )


def _add_nothing(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _json(answer: requests.Response) -> object:
    try:
        return answer.json()
    except ValueError:
        return None


def _refusal(
    url: str, username: str, answer: requests.Response
) -> ApiError | NotAuthenticatedError:
    body = _json(answer)
    told = ""
    if isinstance(body, dict):
        told = str(body.get("error_description") or body.get("error") or "")
    message = f"{url} refused the login of {username!r}: {told or answer.status_code}"
    if answer.status_code in _REFUSED:
        return NotAuthenticatedError(message)
    return ApiError(message, status=answer.status_code)


def _claim(token: str, name: str) -> str:
    """Return a claim without checking the signature: the server does that with every request."""
    try:
        claims = jwt.decode(token, options={"verify_signature": False})
    except jwt.InvalidTokenError:
        return ""
    return str(claims.get(name, ""))
