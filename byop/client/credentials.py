"""Where the client connects and as whom.

Arguments win, then the environment, then the file that a server on this machine wrote. Variables
and files are the documents' (seed 000, "Connect to Wallaroo"; reference/wallaroo-sdk.md 1.1 and
1.2). The only file of the client that reads the environment.
"""

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import orjson

from byop.errors import InvalidInputError, NotAuthenticatedError, SettingsInvalidError

DEFAULT_ENDPOINT = "http://127.0.0.1:8080"
DEFAULT_TIMEOUT_S = 45.0
INITIAL_CREDENTIALS = "initial-credentials.json"
_AUTH_TYPES = ("user_password", "token")


@dataclass(frozen=True, slots=True)
class UserPassword:
    """Log in with the password grant."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class BearerToken:
    """Send a token that came from elsewhere; it is never renewed."""

    token: str = field(repr=False)
    email: str = ""
    user_id: str = ""


Credentials = UserPassword | BearerToken


@dataclass(frozen=True, slots=True)
class Connection:
    """A server, a token service, the longest wait for an answer or a deployment, and who asks."""

    api_endpoint: str
    auth_endpoint: str
    request_timeout_s: float
    credentials: Credentials


def read_connection(
    *,
    api_endpoint: str | None = None,
    auth_endpoint: str | None = None,
    auth_type: str | None = None,
    request_timeout: float | None = None,
    credentials: Credentials | None = None,
    credentials_file: str | Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> Connection:
    """Return the connection; what is None comes from ``environ`` (the process's by default).

    ``credentials`` win over ``credentials_file``, and that over the environment.

    Raises:
        NotAuthenticatedError: Nothing says who asks.
        SettingsInvalidError: A variable, or the file that it names, cannot be read.
    """
    given = os.environ if environ is None else environ
    endpoint = _endpoint(api_endpoint or given.get("WALLAROO_URL") or DEFAULT_ENDPOINT)
    timeout_s = _timeout(request_timeout, given)
    if credentials is None:
        chosen = _auth_type(auth_type, given)
        credentials = _find_credentials(chosen, endpoint, given, credentials_file)
    return Connection(
        api_endpoint=endpoint,
        auth_endpoint=_endpoint(auth_endpoint or given.get("WALLAROO_AUTH_URL") or endpoint),
        request_timeout_s=timeout_s,
        credentials=credentials,
    )


def _endpoint(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidInputError(f"endpoint {url!r} is no http or https address")
    return url.rstrip("/")


def _timeout(request_timeout: float | None, environ: Mapping[str, str]) -> float:
    if request_timeout is not None:
        if not request_timeout > 0:
            raise InvalidInputError(f"request_timeout must be above zero, got {request_timeout}")
        return float(request_timeout)
    text = environ.get("WALLAROO_REQUEST_TIMEOUT")
    if not text:
        return DEFAULT_TIMEOUT_S
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise SettingsInvalidError(
            "WALLAROO_REQUEST_TIMEOUT", f"{text!r} is no number of seconds above zero"
        )
    return seconds


def _auth_type(auth_type: str | None, environ: Mapping[str, str]) -> str | None:
    if auth_type is not None:
        if auth_type not in _AUTH_TYPES:
            raise InvalidInputError(
                f"auth_type {auth_type!r} is not supported: use {' or '.join(_AUTH_TYPES)}"
            )
        return auth_type
    chosen = environ.get("WALLAROO_SDK_AUTH_TYPE") or None
    if chosen is not None and chosen not in _AUTH_TYPES:
        raise SettingsInvalidError(
            "WALLAROO_SDK_AUTH_TYPE", f"{chosen!r} is none of {', '.join(_AUTH_TYPES)}"
        )
    return chosen


def _find_credentials(
    auth_type: str | None,
    endpoint: str,
    environ: Mapping[str, str],
    credentials_file: str | Path | None,
) -> Credentials:
    user, password = environ.get("WALLAROO_USER"), environ.get("WALLAROO_PASSWORD")
    file = credentials_file or environ.get("WALLAROO_SDK_CREDENTIALS")
    if user and password and credentials_file is None and auth_type != "token":
        return UserPassword(user, password)
    if file or auth_type == "token":
        content = _read_file(str(file or ""))
        is_token = auth_type == "token" or _is_token(auth_type, content)
        return _token_of(content) if is_token else _user_of(content)
    initial = Path(environ.get("BYOP_HOME") or "~/.byop").expanduser() / INITIAL_CREDENTIALS
    if _is_local(endpoint) and os.access(initial, os.R_OK):
        return _user_of(_read_file(str(initial)))
    raise NotAuthenticatedError(
        "no credentials: set WALLAROO_USER and WALLAROO_PASSWORD, or WALLAROO_SDK_CREDENTIALS to "
        f"the path of a JSON file with username and password (looked for {initial}, too, which a "
        "server on this machine writes at its first start)"
    )


def _is_token(auth_type: str | None, content: Mapping[str, str]) -> bool:
    return auth_type is None and "token" in content and "password" not in content


def _read_file(path: str) -> dict[str, str]:
    try:
        content = orjson.loads(Path(path).expanduser().read_bytes())
    except OSError as error:
        raise SettingsInvalidError(
            "WALLAROO_SDK_CREDENTIALS", f"cannot read {path!r}: {error.strerror or error}"
        ) from None
    except ValueError:
        raise SettingsInvalidError("WALLAROO_SDK_CREDENTIALS", f"{path!r} is no JSON") from None
    if not isinstance(content, dict):
        raise SettingsInvalidError("WALLAROO_SDK_CREDENTIALS", f"{path!r} holds no JSON object")
    return {key: value for key, value in content.items() if isinstance(value, str)}


def _user_of(content: Mapping[str, str]) -> UserPassword:
    username = content.get("username") or content.get("email")
    password = content.get("password")
    if not username or not password:
        raise SettingsInvalidError(
            "WALLAROO_SDK_CREDENTIALS", "the file needs the keys username and password"
        )
    return UserPassword(username, password)


def _token_of(content: Mapping[str, str]) -> BearerToken:
    token = content.get("token")
    if not token:
        raise SettingsInvalidError("WALLAROO_SDK_CREDENTIALS", "the file needs the key token")
    return BearerToken(token, content.get("user_email", ""), content.get("user_id", ""))


def _is_local(endpoint: str) -> bool:
    host = urlsplit(endpoint).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
