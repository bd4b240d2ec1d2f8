"""The token route: OAuth 2 (RFC 6749) at Keycloak's path.

Grants: password, client_credentials and refresh_token; the client authenticates by HTTP Basic or
form fields. Errors follow RFC 6749 section 5.2, not the API's envelope.
"""

import base64
import binascii
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote_plus

import anyio.to_thread
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from byop.domain.users import SDK_CLIENT, Principal
from byop.errors import NotAuthenticatedError
from byop.server.auth import Wired
from byop.server.services import Services
from byop.services.tokens import TokenPair

PATH = "/auth/realms/master/protocol/openid-connect/token"
MAX_WAITING = 64
"""Log-ins that may wait for a hash; each holds a connection."""

_FORM = {
    "grant_type": {"type": "string", "enum": ["password", "client_credentials", "refresh_token"]},
    "username": {"type": "string"},
    "password": {"type": "string", "format": "password"},
    "client_id": {"type": "string"},
    "client_secret": {"type": "string", "format": "password"},
    "refresh_token": {"type": "string"},
    "scope": {"type": "string"},
}
_NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}
_FORM_TYPE = "application/x-www-form-urlencoded"

router = APIRouter(tags=["tokens"])


class _GrantError(Exception):
    """An error of RFC 6749 section 5.2."""

    def __init__(self, error: str, description: str, status: int = 400) -> None:
        super().__init__(description)
        self.error = error
        self.description = description
        self.status = status


@dataclass(frozen=True, slots=True)
class _Client:
    """Who asks, as the request says."""

    id: str
    secret: str | None


@router.post(
    PATH,
    summary="Get an access token",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                _FORM_TYPE: {
                    "schema": {"type": "object", "required": ["grant_type"], "properties": _FORM}
                }
            },
        }
    },
)
async def issue_token(request: Request, services: Wired) -> JSONResponse:
    """Answer a grant. Passwords are hashed in a few threads, apart from the other routes'."""
    limiter: anyio.CapacityLimiter = request.app.state.log_ins
    try:
        form = _form(await request.body())
        client = _client(request.headers.get("authorization"), form)
        _require_room(limiter)
        pair = await anyio.to_thread.run_sync(_grant, services, form, client, limiter=limiter)
    except _GrantError as error:
        return _refusal(error)
    return JSONResponse(_token_json(pair, form.get("scope", "profile email")), headers=_NO_STORE)


def _require_room(limiter: anyio.CapacityLimiter) -> None:
    if limiter.statistics().tasks_waiting >= MAX_WAITING:
        raise _GrantError("temporarily_unavailable", "too many log-ins wait; try again", 429)


def _grant(services: Services, form: Mapping[str, str], client: _Client) -> TokenPair:
    grant = form.get("grant_type")
    if grant not in ("password", "client_credentials", "refresh_token"):
        raise _GrantError(
            "unsupported_grant_type", "use password, client_credentials, or refresh_token"
        )
    try:
        client_id = services.identity.authenticate_client(client.id, client.secret)
    except NotAuthenticatedError as error:
        raise _GrantError("invalid_client", error.message, 401) from None
    try:
        match grant:
            case "password":
                user = services.identity.log_in(_field(form, "username"), _field(form, "password"))
                principal = services.identity.principal_of(user, client_id)
                return services.tokens.issue(principal, with_refresh=True)
            case "refresh_token":
                return services.tokens.refresh(_field(form, "refresh_token"), client_id=client_id)
            case _:
                return _client_credentials(services, client_id)
    except NotAuthenticatedError as error:
        raise _GrantError("invalid_grant", error.message) from None


def _client_credentials(services: Services, client_id: str) -> TokenPair:
    if client_id == SDK_CLIENT:
        raise _GrantError("unauthorized_client", f"{client_id} has no secret: log in as a user")
    return services.tokens.issue(Principal(user_id=None, client_id=client_id), with_refresh=False)


def _form(body: bytes) -> dict[str, str]:
    """Return the fields, each of which may come once (RFC 6749 section 3.2)."""
    try:
        fields = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=64)
    except ValueError:
        raise _GrantError("invalid_request", f"the body is no {_FORM_TYPE} form") from None
    form = dict(fields)
    if len(form) < len(fields):
        raise _GrantError("invalid_request", "a field comes twice")
    return form


def _field(form: Mapping[str, str], name: str) -> str:
    value = form.get(name)
    if not value:
        raise _GrantError("invalid_request", f"{name} is missing")
    return value


def _client(authorization: str | None, form: Mapping[str, str]) -> _Client:
    """Return the client of the Basic header (RFC 6749 section 2.3.1), else of the form."""
    scheme, _, encoded = (authorization or "").partition(" ")
    if scheme.lower() == "basic":
        try:
            client_id, found, secret = (
                base64.b64decode(encoded, validate=True).decode().partition(":")
            )
        except (binascii.Error, UnicodeDecodeError):
            raise _GrantError("invalid_client", "the Basic header cannot be read", 401) from None
        return _Client(unquote_plus(client_id), unquote_plus(secret) if found else None)
    return _Client(_field(form, "client_id"), form.get("client_secret"))


def _token_json(pair: TokenPair, scope: str) -> dict[str, object]:
    answer: dict[str, object] = {
        "access_token": pair.access_token,
        "expires_in": pair.expires_in,
        "refresh_expires_in": pair.refresh_expires_in,
        "token_type": "Bearer",
        "not-before-policy": 0,
        "scope": scope,
    }
    if pair.refresh_token:
        answer |= {"refresh_token": pair.refresh_token, "session_state": str(uuid.uuid4())}
    return answer


def _refusal(error: _GrantError) -> JSONResponse:
    headers = dict(_NO_STORE)
    if error.status == 401:  # noqa: PLR2004 - an HTTP status
        headers["WWW-Authenticate"] = 'Basic realm="byop"'
    if error.status == 429:  # noqa: PLR2004 - an HTTP status
        headers["Retry-After"] = "1"
    return JSONResponse(
        {"error": error.error, "error_description": error.description},
        status_code=error.status,
        headers=headers,
    )
