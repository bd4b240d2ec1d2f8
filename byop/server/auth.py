"""Who calls: bearer tokens, and the dependencies that give a route its caller and services."""

from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from byop.domain.users import Principal
from byop.errors import NotAllowedError, NotAuthenticatedError
from byop.server.services import Services
from byop.services.tokens import TokenService
from byop.settings import Settings

_bearer = HTTPBearer(auto_error=False, description="An access token of the token route")


def bearer_token(header: bytes | None) -> str:
    """Return the token of an Authorization header.

    Raises:
        NotAuthenticatedError: The header is missing or is no ``Bearer <token>``.
    """
    if header is None:
        raise NotAuthenticatedError("the Authorization header is missing: send a bearer token")
    scheme, _, token = header.partition(b" ")
    token = token.strip()
    if scheme.lower() != b"bearer" or not token or not token.isascii():
        raise NotAuthenticatedError("the Authorization header must be 'Bearer <access token>'")
    return token.decode("ascii")


def user_of(header: bytes | None, tokens: TokenService) -> Principal:
    """Return the user whom an Authorization header speaks for.

    Raises:
        NotAuthenticatedError: No token, or not a valid one.
        NotAllowedError: The token is a program's, which may call inference and nothing else.
    """
    principal = tokens.verify(bearer_token(header))
    if principal.user_id is None:
        raise NotAllowedError("a client-credentials token may call inference only")
    return principal


async def wired_services(request: Request) -> Services:
    """Return the services that the application was made with."""
    services: Services = request.app.state.services
    return services


async def wired_settings(request: Request) -> Settings:
    """Return the settings that the application was made with."""
    settings: Settings = request.app.state.settings
    return settings


Wired = Annotated[Services, Depends(wired_services)]
Configured = Annotated[Settings, Depends(wired_settings)]


async def current_user(
    request: Request,
    services: Wired,
    _documented: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
) -> Principal:
    """Return the user whom the request's token speaks for; raises as ``user_of`` does."""
    header = request.headers.get("authorization")
    return user_of(None if header is None else header.encode("latin-1"), services.tokens)


Caller = Annotated[Principal, Depends(current_user)]
