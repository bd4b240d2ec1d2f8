"""Encryption of secrets at rest."""

from typing import Protocol


class SecretBox(Protocol):
    """Seals small texts with AES-GCM. Sealed bytes carry the id of the key that made them.

    It seals with one key, and opens with that one and with those before it that it was given.
    """

    def seal(self, plain: str, *, context: str) -> bytes:
        """Return ``plain`` encrypted.

        ``context`` (such as ``deployment/7/OPENAI_API_KEY``) is authenticated, so that sealed
        bytes moved to another row do not open.
        """

    def open(self, sealed: bytes, *, context: str) -> str:
        """Return the plain text.

        Raises:
            SecretKeyInvalidError: The key is another one, the context differs, or bytes changed.
        """

    def require_key_of(self, sealed: bytes, *, place: str) -> None:
        """Raise when there is no key for ``sealed``, of which the beginning is enough.

        Raises:
            SecretKeyInvalidError: It was sealed with another key.
        """


def client_secret_context(client_id: str) -> str:
    """Return what the secret of a confidential client is bound to."""
    return f"client/{client_id}/secret"
