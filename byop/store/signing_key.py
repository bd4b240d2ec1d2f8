"""The keys that sign tokens: RSA keys, sealed on disk."""

from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from byop.errors import SecretKeyInvalidError
from byop.ports.secrets import SecretBox
from byop.store.private_files import write_private

SIGNING_KEY_FILE = "signing-key.sealed"

_CONTEXT = "server/signing-key"
_BITS = 2048
_END = "-----END PRIVATE KEY-----\n"


def load_signing_keys(home: Path, secret_box: SecretBox) -> list[rsa.RSAPrivateKey]:
    """Return the signing keys below ``home``: the first one signs, the others only verify.

    One is made at the first start.

    Raises:
        SecretKeyInvalidError: The file was sealed with another key, or changed.
    """
    path = home / SIGNING_KEY_FILE
    if not path.exists():
        keys = [_new_key()]
        _write(path, keys, secret_box)
        return keys
    pems = secret_box.open(path.read_bytes(), context=_CONTEXT)
    return [_read(pem + _END, path) for pem in pems.split(_END) if pem]


def require_signing_keys_open(home: Path, secret_box: SecretBox) -> None:
    """Raise SecretKeyInvalidError when there is a file that does not open."""
    if (home / SIGNING_KEY_FILE).exists():
        load_signing_keys(home, secret_box)


def reseal_signing_keys(home: Path, secret_box: SecretBox) -> None:
    """Seal the file anew with today's key."""
    if (home / SIGNING_KEY_FILE).exists():
        _write(home / SIGNING_KEY_FILE, load_signing_keys(home, secret_box), secret_box)


def rotate_signing_key(home: Path, secret_box: SecretBox, *, keep_previous: bool) -> None:
    """Sign with a new key from now on; ``keep_previous`` leaves today's tokens valid."""
    previous = load_signing_keys(home, secret_box)[:1] if keep_previous else []
    _write(home / SIGNING_KEY_FILE, [_new_key(), *previous], secret_box)


def _new_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=_BITS)


def _read(pem: str, path: Path) -> rsa.RSAPrivateKey:
    key = serialization.load_pem_private_key(pem.encode(), password=None)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise SecretKeyInvalidError(f"{path} holds no RSA key")
    return key


def _write(path: Path, keys: list[rsa.RSAPrivateKey], secret_box: SecretBox) -> None:
    pems = [
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode()
        for key in keys
    ]
    write_private(path, secret_box.seal("".join(pems), context=_CONTEXT))
