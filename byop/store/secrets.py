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

_KEY_BYTES = 32
_NONCE_BYTES = 12
_VERSION = b"\x01"
_HEADER_BYTES = 9
_CHECK_CONTEXT = "secret-key-check"


class AesGcmSecretBox:
    """Seals with one 32-byte key. Texts may hold any ``str``, lone surrogates included."""

    def __init__(self, key: bytes) -> None:
        if len(key) != _KEY_BYTES:
            raise SecretKeyInvalidError(
                f"the secret key has {len(key)} bytes: give {_KEY_BYTES} bytes in base64"
            )
        self._cipher = AESGCM(key)
        key_id = hashlib.sha256(b"byop secret key id\0" + key).digest()[: _HEADER_BYTES - 1]
        self._header = _VERSION + key_id

    @classmethod
    def load(cls, home: Path, key_base64: str) -> Self:
        """Return the box of the server at ``home``: its key is ``key_base64``, else a file.

        The file ``secret.key`` is made at the first start. ``secret-key.check`` remembers, sealed,
        that a key was in use, so that a lost or exchanged key is noticed before anything is sealed
        with another one.

        Raises:
            SecretKeyInvalidError: The key is malformed, lost, not the one in use before, or lies
                in a file that others may read.
        """
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        check = home / CHECK_FILE
        is_first_start = not check.exists()
        if key_base64:
            box = cls(_decode(key_base64))
        else:
            box = cls(_key_in_file(home / KEY_FILE, may_make=is_first_start))
        if is_first_start:
            write_private(check, box.seal("", context=_CHECK_CONTEXT))
        else:
            box.open(check.read_bytes(), context=_CHECK_CONTEXT)
        return box

    def seal(self, plain: str, *, context: str) -> bytes:
        """Return ``plain`` encrypted under a fresh random nonce."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        text = plain.encode("utf-8", "surrogatepass")
        return self._header + nonce + self._cipher.encrypt(nonce, text, self._bound(context))

    def open(self, sealed: bytes, *, context: str) -> str:
        """Return the plain text."""
        if sealed[:_HEADER_BYTES] != self._header:
            raise SecretKeyInvalidError(
                "stored secrets were sealed with another key: start with the key that this data "
                "directory and database were made with (BYOP_SECRET_KEY or secret.key)"
            )
        start = _HEADER_BYTES + _NONCE_BYTES
        nonce = sealed[_HEADER_BYTES:start]
        try:
            text = self._cipher.decrypt(nonce, sealed[start:], self._bound(context))
        except (InvalidTag, ValueError):
            raise SecretKeyInvalidError(
                f"the stored secret {context} was changed, or belongs elsewhere"
            ) from None
        return text.decode("utf-8", "surrogatepass")

    def _bound(self, context: str) -> bytes:
        return self._header + context.encode("utf-8", "surrogatepass")


def _key_in_file(path: Path, *, may_make: bool) -> bytes:
    if path.exists():
        if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise SecretKeyInvalidError(f"{path} is open to other users: chmod 600 it")
        return _decode(path.read_text(encoding="ascii", errors="replace"))
    if not may_make:
        raise SecretKeyInvalidError(
            f"{path} is missing, and secrets were sealed here before: restore it, or set "
            "BYOP_SECRET_KEY"
        )
    key = secrets.token_bytes(_KEY_BYTES)
    write_private(path, base64.b64encode(key) + b"\n")
    return key


def _decode(key_base64: str) -> bytes:
    try:
        return base64.b64decode(key_base64.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise SecretKeyInvalidError(
            f"the secret key (BYOP_SECRET_KEY or {KEY_FILE}) is not base64: "
            f"give {_KEY_BYTES} bytes in base64"
        ) from None
