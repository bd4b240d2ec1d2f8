"""Secrets that are planted to be looked for, and the looking."""

import base64
import json
import secrets
from collections.abc import Callable, Iterator
from urllib.parse import quote, quote_plus


def canary(name: str) -> str:
    """Return a value that stands nowhere else."""
    return f"canary{name}{secrets.token_hex(12)}"


def key_file() -> str:
    """Return a private key as PEM; every line of it is a secret."""
    lines = [base64.b64encode(secrets.token_bytes(48)).decode() for _ in range(3)]
    return "\n".join(["-----BEGIN PRIVATE KEY-----", *lines, "-----END PRIVATE KEY-----", ""])


class Planted:
    """Named secrets in every form that text or bytes may hold them."""

    def __init__(self, values: dict[str, str]) -> None:
        self.values = values
        self._forms = {
            name: {form.encode() for part in _parts(value) for form in _forms(part)}
            for name, value in values.items()
        }

    def found_in(self, haystack: str | bytes) -> list[str]:
        """Return the names of those that stand in ``haystack``."""
        raw = haystack.encode(errors="replace") if isinstance(haystack, str) else haystack
        return [name for name, forms in self._forms.items() if any(form in raw for form in forms)]


def _parts(value: str) -> Iterator[str]:
    """Yield the value, its lines, and the texts in it when it is JSON; no PEM frame."""
    yield value
    yield from (line for line in value.splitlines() if line and "-----" not in line)
    if value.startswith("{"):
        for inner in json.loads(value).values():
            yield from _parts(str(inner))


def _forms(text: str) -> Iterator[str]:
    raw = text.encode()
    yield from (text, json.dumps(text)[1:-1], repr(text)[1:-1], raw.hex(), raw.hex().upper())
    yield from (quote(text, safe=""), quote(text), quote_plus(text))
    encoders: tuple[Callable[[bytes], bytes], ...] = (base64.b64encode, base64.urlsafe_b64encode)
    for encode in encoders:
        for before in range(3):
            whole = encode(bytes(before) + raw).decode()
            yield whole[(before * 8 + 5) // 6 : (before + len(raw)) * 8 // 6]
