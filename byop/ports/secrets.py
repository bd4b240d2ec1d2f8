"""Encryption of secrets at rest."""

from typing import Protocol


class SecretBox(Protocol):
    """Seals small texts with AES-GCM. Sealed bytes carry the id of the key that made them."""

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
