"""Encryption of secrets at rest: AES-256-GCM.

Sealed bytes are ``version (1) | key id (8) | nonce (12) | ciphertext and tag``; header and context
are authenticated.
"""

import base64
import binascii
import hashlib
import secrets
import stat
from pathlib import Path
from typing import Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from byop.errors import SecretKeyInvalidError
from byop.store.private_files import write_private

KEY_FILE = "secret.key"
CHECK_FILE = "secret-key.check"
CHECK_CONTEXT = "secret-key-check"
HEADER_BYTES = 9
KEY_BYTES = 32

_NONCE_BYTES = 12
_VERSION = b"\x01"


class AesGcmSecretBox:
    """Seals with one 32-byte key. Texts may hold any ``str``, lone surrogates included."""

    def __init__(self, key: bytes, *previous: bytes) -> None:
        for one in (key, *previous):
            if len(one) != KEY_BYTES:
                raise SecretKeyInvalidError(
                    f"the secret key has {len(one)} bytes: give {KEY_BYTES} bytes in base64"
                )
        self._ciphers = {_header_of(one): AESGCM(one) for one in (*previous, key)}
        self._header = _header_of(key)

    @classmethod
    def load(cls, home: Path, key_base64: str, previous_base64: str = "") -> Self:
        """Return the box of the server at ``home``: its key is ``key_base64``, else a file.

        The file ``secret.key`` is made at the first start; its first line seals, and further
        lines, which an unfinished rotation leaves, only open. ``secret-key.check`` remembers,
        sealed, that a key was in use, so that a lost or exchanged key is noticed before anything
        is sealed with another one.

        Raises:
            SecretKeyInvalidError: The key is malformed, lost, not the one in use before, or lies
                in a file that others may read.
        """
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        check = home / CHECK_FILE
        is_first_start = not check.exists()
        previous = [decode_key(previous_base64)] if previous_base64 else []
        if key_base64:
            keys = [decode_key(key_base64)]
        else:
            keys = _keys_in_file(home / KEY_FILE, may_make=is_first_start)
        box = cls(*keys, *previous)
        if is_first_start:
            write_private(check, box.seal("", context=CHECK_CONTEXT))
        else:
            box.open(check.read_bytes(), context=CHECK_CONTEXT)
        return box

    @property
    def key_ids(self) -> tuple[str, ...]:
        """Ids of all keys; the first one's key seals."""
        first = key_id_of(self._header)
        return (first, *(one for one in map(key_id_of, self._ciphers) if one != first))

    def seal(self, plain: str, *, context: str) -> bytes:
        """Return ``plain`` encrypted under a fresh random nonce."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        text = plain.encode("utf-8", "surrogatepass")
        bound = _bound(self._header, context)
        return self._header + nonce + self._ciphers[self._header].encrypt(nonce, text, bound)

    def open(self, sealed: bytes, *, context: str) -> str:
        """Return the plain text."""
        self.require_key_of(sealed, place=context)
        header = sealed[:HEADER_BYTES]
        start = HEADER_BYTES + _NONCE_BYTES
        nonce = sealed[HEADER_BYTES:start]
        try:
            text = self._ciphers[header].decrypt(nonce, sealed[start:], _bound(header, context))
        except (InvalidTag, ValueError):
            raise SecretKeyInvalidError(
                f"the stored secret {context} was changed, or belongs elsewhere"
            ) from None
        return text.decode("utf-8", "surrogatepass")

    def require_key_of(self, sealed: bytes, *, place: str) -> None:
        """Raise unless the header names one of the keys."""
        if sealed[:HEADER_BYTES] not in self._ciphers:
            raise SecretKeyInvalidError(
                f"{place} was sealed with another key (id {key_id_of(sealed)}): start with the key "
                "that this data directory and database were made with (BYOP_SECRET_KEY or "
                f"{KEY_FILE}), or give it as BYOP_SECRET_KEY_PREVIOUS"
            )


def key_id_of(sealed: bytes) -> str:
    """Return the id of the key that sealed these bytes; their header is enough."""
    return sealed[len(_VERSION) : HEADER_BYTES].hex()


def decode_key(key_base64: str) -> bytes:
    """Return the key.

    Raises:
        SecretKeyInvalidError: The text is no base64.
    """
    try:
        return base64.b64decode(key_base64.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise SecretKeyInvalidError(
            f"the secret key (BYOP_SECRET_KEY or {KEY_FILE}) is not base64: "
            f"give {KEY_BYTES} bytes in base64"
        ) from None


def read_key_file(path: Path) -> list[bytes]:
    """Return the keys in a file, the one that seals first.

    Raises:
        SecretKeyInvalidError: A line is malformed, or others may read the file.
    """
    if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise SecretKeyInvalidError(f"{path} is open to other users: chmod 600 it")
    return [decode_key(line) for line in path.read_text("ascii", errors="replace").splitlines()]


def write_key_file(path: Path, keys: list[bytes]) -> None:
    """Replace the keys in a file by these, at once."""
    write_private(path, b"".join(base64.b64encode(key) + b"\n" for key in keys))


def _keys_in_file(path: Path, *, may_make: bool) -> list[bytes]:
    if path.exists():
        keys = read_key_file(path)
        if not keys:
            raise SecretKeyInvalidError(f"{path} is empty: restore it, or set BYOP_SECRET_KEY")
        return keys
    if not may_make:
        raise SecretKeyInvalidError(
            f"{path} is missing, and secrets were sealed here before: restore it, or set "
            "BYOP_SECRET_KEY"
        )
    keys = [secrets.token_bytes(KEY_BYTES)]
    write_key_file(path, keys)
    return keys


def _header_of(key: bytes) -> bytes:
    digest = hashlib.sha256(b"byop secret key id\0" + key).digest()
    return _VERSION + digest[: HEADER_BYTES - len(_VERSION)]


def _bound(header: bytes, context: str) -> bytes:
    return header + context.encode("utf-8", "surrogatepass")
