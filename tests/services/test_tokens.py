import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from byop.domain.identifiers import UserId
from byop.domain.users import Principal, User
from byop.errors import NotAuthenticatedError
from byop.services.tokens import TokenService

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
NEXT_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
USER = User(
    id=UserId("u-1"),
    email="a@b.c",
    username="a@b.c",
    is_admin=False,
    is_enabled=True,
    created_at=datetime(2026, 1, 1, tzinfo=UTC),
)
PRINCIPAL = Principal(user_id=USER.id, client_id="api-client", email=USER.email)


def test_tokens_of_the_key_before_stay_valid_while_it_is_kept() -> None:
    before = _service(keys=[KEY]).issue(PRINCIPAL, with_refresh=True)
    rotated = _service(keys=[NEXT_KEY, KEY])

    assert rotated.verify(before.access_token) == PRINCIPAL
    renewed = rotated.refresh(before.refresh_token, client_id="api-client")
    assert jwt.get_unverified_header(renewed.access_token) != jwt.get_unverified_header(
        before.access_token
    )
    alone = _service(keys=[NEXT_KEY])
    assert alone.verify(renewed.access_token) == PRINCIPAL
    with pytest.raises(NotAuthenticatedError):
        alone.verify(before.access_token)


@pytest.mark.parametrize(
    "header", [{}, {"kid": "../../secret.key"}, {"kid": ""}, {"kid": "0" * 16}]
)
def test_token_of_an_unknown_key_is_refused(header: dict[str, str]) -> None:
    issued = _service().issue(PRINCIPAL, with_refresh=False).access_token
    claims = jwt.decode(issued, options={"verify_signature": False})
    forged = jwt.encode(claims, KEY, algorithm="RS256", headers=header)
    with pytest.raises(NotAuthenticatedError, match="not valid"):
        _service().verify(forged)


def test_token_signed_with_one_key_under_the_name_of_another_is_refused() -> None:
    service = _service(keys=[KEY, NEXT_KEY])
    issued = service.issue(PRINCIPAL, with_refresh=False).access_token
    claims = jwt.decode(issued, options={"verify_signature": False})
    names = {"kid": jwt.get_unverified_header(issued)["kid"]}
    with pytest.raises(NotAuthenticatedError, match="not valid"):
        service.verify(jwt.encode(claims, NEXT_KEY, algorithm="RS256", headers=names))


class MovableClock:
    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


def _service(
    clock: Callable[[], float] = time.time,
    *,
    user: User | None = USER,
    issuer: str = "iss",
    keys: Sequence[rsa.RSAPrivateKey] = (KEY,),
) -> TokenService:
    return TokenService(
        signing_keys=keys,
        issuer=issuer,
        lifetime_s=3600,
        refresh_lifetime_s=7200,
        find_user=lambda _: user,
        clock_s=clock,
    )


def test_token_speaks_for_its_principal() -> None:
    service = _service()
    pair = service.issue(PRINCIPAL, with_refresh=True)
    assert pair.expires_in == 3600
    assert service.verify(pair.access_token) == PRINCIPAL
    assert service.verify(pair.access_token) == PRINCIPAL


def test_client_credentials_token_carries_no_user() -> None:
    service = _service()
    pair = service.issue(Principal(user_id=None, client_id="api-client"), with_refresh=False)
    assert service.verify(pair.access_token) == Principal(user_id=None, client_id="api-client")
    assert pair.refresh_token == ""


@pytest.mark.parametrize("seen_before", [False, True])
def test_token_is_refused_once_expired(seen_before: bool) -> None:
    clock = MovableClock()
    service = _service(clock)
    token = service.issue(PRINCIPAL, with_refresh=False).access_token
    if seen_before:
        service.verify(token)
    clock.now += 3601
    with pytest.raises(NotAuthenticatedError, match="expired"):
        service.verify(token)


@pytest.mark.parametrize(
    "change",
    [
        lambda token: token[:-4] + "AAAA",
        lambda token: token[: len(token) // 2],
        lambda _: "",
        lambda _: "a.b.c",
        lambda token: token + "x",
    ],
)
def test_changed_token_is_refused(change: Callable[[str], str]) -> None:
    service = _service()
    token = service.issue(PRINCIPAL, with_refresh=False).access_token
    service.verify(token)
    with pytest.raises(NotAuthenticatedError):
        service.verify(change(token))


def test_token_without_signature_is_refused() -> None:
    service = _service()
    claims = jwt.decode(
        service.issue(PRINCIPAL, with_refresh=False).access_token,
        options={"verify_signature": False},
    )
    forged = jwt.encode(claims, "", algorithm="none")
    with pytest.raises(NotAuthenticatedError):
        service.verify(forged)


def test_token_of_another_issuer_is_refused() -> None:
    token = _service(issuer="other").issue(PRINCIPAL, with_refresh=False).access_token
    with pytest.raises(NotAuthenticatedError):
        _service().verify(token)


def test_refresh_gives_new_tokens_with_the_rights_of_today() -> None:
    promoted = User(**{f: getattr(USER, f) for f in USER.__slots__} | {"is_admin": True})
    pair = _service().issue(PRINCIPAL, with_refresh=True)
    renewed = _service(user=promoted).refresh(pair.refresh_token, client_id="api-client")
    assert _service().verify(renewed.access_token).is_admin


def test_access_token_does_not_refresh_and_refresh_token_does_not_access() -> None:
    service = _service()
    pair = service.issue(PRINCIPAL, with_refresh=True)
    with pytest.raises(NotAuthenticatedError):
        service.refresh(pair.access_token, client_id="api-client")
    with pytest.raises(NotAuthenticatedError):
        service.verify(pair.refresh_token)


def test_refresh_token_works_for_its_own_client_only() -> None:
    pair = _service().issue(PRINCIPAL, with_refresh=True)
    with pytest.raises(NotAuthenticatedError, match="another client"):
        _service().refresh(pair.refresh_token, client_id="sdk-client")


def test_refresh_token_of_a_user_who_is_gone_is_refused() -> None:
    pair = _service().issue(PRINCIPAL, with_refresh=True)
    with pytest.raises(NotAuthenticatedError):
        _service(user=None).refresh(pair.refresh_token, client_id="api-client")


def test_token_pair_does_not_show_its_tokens() -> None:
    pair = _service().issue(PRINCIPAL, with_refresh=True)
    assert pair.access_token not in repr(pair)
