"""The key that signs tokens: an RSA key, sealed on disk."""

from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from byop.errors import SecretKeyInvalidError
from byop.ports.secrets import SecretBox
from byop.store.private_files import write_private

_CONTEXT = "server/signing-key"
_BITS = 2048


def load_signing_key(home: Path, secret_box: SecretBox) -> rsa.RSAPrivateKey:
    """Return the signing key below ``home``, made at the first start.

    Raises:
        SecretKeyInvalidError: The file was sealed with another key, or changed.
    """
    path = home / "signing-key.sealed"
    if path.exists():
        pem = secret_box.open(path.read_bytes(), context=_CONTEXT)
        key = serialization.load_pem_private_key(pem.encode(), password=None)
        if not isinstance(key, rsa.RSAPrivateKey):
            raise SecretKeyInvalidError(f"{path} holds no RSA key")
        return key
    key = rsa.generate_private_key(public_exponent=65537, key_size=_BITS)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
    write_private(path, secret_box.seal(pem, context=_CONTEXT))
    return key
