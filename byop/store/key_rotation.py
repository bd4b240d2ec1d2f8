"""Exchanging the secret key of a data directory, with its server stopped.

At every moment in between the server could start: before anything is sealed with the new key both
keys can open, and the old key goes only when nothing is left that it sealed. What a crash left
unfinished the next rotation finishes.
"""

import secrets
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from byop.errors import SecretKeyInvalidError, SettingsInvalidError
from byop.settings import Settings
from byop.store.home_lock import HomeLock
from byop.store.metadata import SqlMetadataStore
from byop.store.private_files import write_private
from byop.store.secrets import (
    CHECK_CONTEXT,
    CHECK_FILE,
    KEY_BYTES,
    KEY_FILE,
    AesGcmSecretBox,
    decode_key,
    key_id_of,
    read_key_file,
    write_key_file,
)
from byop.store.signing_key import (
    SIGNING_KEY_FILE,
    require_signing_keys_open,
    reseal_signing_keys,
    rotate_signing_key,
)


@dataclass(frozen=True, slots=True)
class KeyUse:
    """One secret key. ``values`` counts what it sealed, in files and in the database."""

    key_id: str
    seals: bool
    values: int


@dataclass(frozen=True, slots=True)
class Rotation:
    """What a rotation did."""

    key_id: str
    values: int


def list_keys(settings: Settings) -> list[KeyUse]:
    """Return the keys, the one that seals first.

    Raises:
        SecretKeyInvalidError: A key is missing or wrong.
        HomeLockedError: The server runs.
    """
    with _stopped(settings), _opened(settings) as (box, metadata):
        used = Counter(metadata.count_sealed())
        for name in (CHECK_FILE, SIGNING_KEY_FILE):
            path = settings.home / name
            if path.exists():
                used[key_id_of(path.read_bytes())] += 1
        return [KeyUse(one, one == box.key_ids[0], used[one]) for one in box.key_ids]


def rotate_secret_key(settings: Settings, new_key: str = "") -> Rotation:
    """Seal everything with a new key; in base64 ``new_key``, or made up.

    A key in the environment is not ours to exchange: there BYOP_SECRET_KEY is the new one already,
    and BYOP_SECRET_KEY_PREVIOUS the old one.

    Raises:
        SecretKeyInvalidError: A key is missing or wrong, or a stored secret does not open; then
            nothing was changed.
        SettingsInvalidError: The environment has a key, and none before it.
        HomeLockedError: The server runs.
    """
    with _stopped(settings):
        with _opened(settings) as (box, metadata):
            metadata.require_opens()
            require_signing_keys_open(settings.home, box)
        if settings.secret_key:
            _require_two_keys(settings, new_key)
        elif len(box.key_ids) == 1 or new_key:
            _add_key(settings, new_key)
        with _opened(settings) as (box, metadata):
            values = metadata.reseal()
            reseal_signing_keys(settings.home, box)
            write_private(settings.home / CHECK_FILE, box.seal("", context=CHECK_CONTEXT))
        if not settings.secret_key:
            path = settings.home / KEY_FILE
            write_key_file(path, read_key_file(path)[:1])
        return Rotation(box.key_ids[0], values)


def rotate_signing(settings: Settings, *, keep_previous: bool) -> None:
    """Sign tokens with a new key; with ``keep_previous`` those of today stay valid.

    Raises:
        SecretKeyInvalidError: A key is missing or wrong.
        HomeLockedError: The server runs.
    """
    with _stopped(settings), _opened(settings) as (box, _):
        rotate_signing_key(settings.home, box, keep_previous=keep_previous)


def _stopped(settings: Settings) -> HomeLock:
    if not (settings.home / CHECK_FILE).exists():
        raise SettingsInvalidError("BYOP_HOME", f"{settings.home} is no data directory of a server")
    return HomeLock(settings.home)


@contextmanager
def _opened(settings: Settings) -> Iterator[tuple[AesGcmSecretBox, SqlMetadataStore]]:
    keys = settings.secret_key, settings.secret_key_previous
    box = AesGcmSecretBox.load(settings.home, *keys)
    metadata = SqlMetadataStore(settings.metadata_url, secrets=box)
    try:
        yield box, metadata
    finally:
        metadata.close()


def _require_two_keys(settings: Settings, new_key: str) -> None:
    if not settings.secret_key_previous or new_key:
        raise SettingsInvalidError(
            "BYOP_SECRET_KEY",
            "is where this server's key comes from: set it to the new key and "
            "BYOP_SECRET_KEY_PREVIOUS to the one of now, then rotate without --new-key-file",
        )


def _add_key(settings: Settings, new_key: str) -> None:
    """Make another key the one that seals; those of now stay for what they sealed."""
    path = settings.home / KEY_FILE
    keys = read_key_file(path)
    added = decode_key(new_key) if new_key else secrets.token_bytes(KEY_BYTES)
    if len(added) != KEY_BYTES:
        raise SecretKeyInvalidError(f"the new key has {len(added)} bytes: give {KEY_BYTES}")
    write_key_file(path, [added, *(key for key in keys if key != added)])
