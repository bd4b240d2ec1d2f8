"""Access and refresh tokens: signed JWTs in the shape of Keycloak's (seed 001, "Token Types")."""

import hashlib
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from typing_extensions import override

from byop.domain.identifiers import UserId
from byop.domain.users import ADMIN_ROLE, Principal, User
from byop.errors import NotAuthenticatedError

_ALGORITHM = "RS256"
_AUDIENCE = "byop"
_CACHED_TOKENS = 4096
_REQUIRED = ["exp", "iat", "iss", "aud", "sub", "typ", "azp"]


@dataclass(frozen=True, slots=True)
class TokenPair:
    """What the token route answers. ``refresh_token`` is empty for client credentials."""

    access_token: str
    expires_in: int
    refresh_token: str
    refresh_expires_in: int

    @override
    def __repr__(self) -> str:
        return f"TokenPair(expires_in={self.expires_in})"


class TokenService:
    """Issues and verifies tokens. Verifying one that was seen before is a dict look-up."""

    def __init__(
        self,
        *,
        signing_keys: Sequence[RSAPrivateKey],
        issuer: str,
        lifetime_s: int,
        refresh_lifetime_s: int,
        find_user: Callable[[UserId], User | None],
        clock_s: Callable[[], float] = time.time,
    ) -> None:
        """``signing_keys``: the first one signs, the others verify what they signed before."""
        self._key = signing_keys[0]
        self._key_id = _thumbprint(self._key)
        self._public_keys = {_thumbprint(key): key.public_key() for key in signing_keys}
        self._issuer = issuer
        self._lifetime_s = lifetime_s
        self._refresh_lifetime_s = refresh_lifetime_s
        self._find_user = find_user
        self._clock_s = clock_s
        self._verified: OrderedDict[bytes, tuple[float, Principal]] = OrderedDict()
        self._lock = Lock()

    def issue(self, principal: Principal, *, with_refresh: bool) -> TokenPair:
        """Return new tokens that speak for ``principal``."""
        refresh = self._sign(principal, "Refresh", self._refresh_lifetime_s) if with_refresh else ""
        return TokenPair(
            access_token=self._sign(principal, "Bearer", self._lifetime_s),
            expires_in=self._lifetime_s,
            refresh_token=refresh,
            refresh_expires_in=self._refresh_lifetime_s if with_refresh else 0,
        )

    def refresh(self, refresh_token: str, *, client_id: str) -> TokenPair:
        """Return new tokens for the user of a refresh token, with the user's rights of today.

        Raises:
            NotAuthenticatedError: It is no valid refresh token of this client, or the user is gone.
        """
        claims = self._decode(refresh_token, "Refresh")
        if claims["azp"] != client_id:
            raise NotAuthenticatedError("the refresh token was issued to another client")
        user = self._find_user(UserId(str(claims["sub"])))
        if user is None or not user.is_enabled:
            raise NotAuthenticatedError("the user of the refresh token may not log in")
        renewed = Principal(
            user_id=user.id, client_id=client_id, email=user.email, is_admin=user.is_admin
        )
        return self.issue(renewed, with_refresh=True)

    def verify(self, access_token: str) -> Principal:
        """Return who the token speaks for.

        Raises:
            NotAuthenticatedError: Expired, forged, malformed, or no access token.
        """
        digest = hashlib.sha256(access_token.encode()).digest()
        cached = self._verified.get(digest)
        if cached is not None and cached[0] > self._clock_s():
            return cached[1]
        claims = self._decode(access_token, "Bearer")
        principal = _principal_in(claims)
        with self._lock:
            self._verified[digest] = (_expiry(claims), principal)
            while len(self._verified) > _CACHED_TOKENS:
                self._verified.popitem(last=False)
        return principal

    def _sign(self, principal: Principal, kind: str, lifetime_s: int) -> str:
        now = int(self._clock_s())
        claims: dict[str, object] = {
            "iss": self._issuer,
            "aud": _AUDIENCE,
            "sub": principal.user_id or f"service-account-{principal.client_id}",
            "typ": kind,
            "azp": principal.client_id,
            "jti": str(uuid.uuid4()),
            "iat": now,
            "exp": now + lifetime_s,
        }
        if principal.user_id is None:
            claims["clientId"] = principal.client_id
        else:
            claims |= {"email": principal.email, "preferred_username": principal.email}
            claims["realm_access"] = {"roles": [ADMIN_ROLE] if principal.is_admin else []}
        return jwt.encode(claims, self._key, algorithm=_ALGORITHM, headers={"kid": self._key_id})

    def _decode(self, token: str, kind: str) -> dict[str, object]:
        try:
            claims: dict[str, object] = jwt.decode(
                token,
                self._public_keys[jwt.get_unverified_header(token).get("kid", "")],
                algorithms=[_ALGORITHM],
                audience=_AUDIENCE,
                issuer=self._issuer,
                options={"require": _REQUIRED, "verify_exp": False, "verify_iat": False},
            )
        except (jwt.InvalidTokenError, KeyError, TypeError):
            raise NotAuthenticatedError("the token is not valid") from None
        if _expiry(claims) <= self._clock_s():
            raise NotAuthenticatedError("the token has expired")
        if claims["typ"] != kind:
            raise NotAuthenticatedError(f"the token is no {kind} token")
        return claims


def _expiry(claims: dict[str, object]) -> float:
    expires_at = claims["exp"]
    if not isinstance(expires_at, int):
        raise NotAuthenticatedError("the token is not valid")
    return expires_at


def _principal_in(claims: dict[str, object]) -> Principal:
    client_id = str(claims["azp"])
    if "clientId" in claims:
        return Principal(user_id=None, client_id=client_id)
    access = claims.get("realm_access")
    roles = access.get("roles", []) if isinstance(access, dict) else []
    return Principal(
        user_id=UserId(str(claims["sub"])),
        client_id=client_id,
        email=str(claims.get("email", "")),
        is_admin=ADMIN_ROLE in roles,
    )


def _thumbprint(key: RSAPrivateKey) -> str:
    public = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(public).hexdigest()[:16]
