"""Hiding a deployment's environment values in text: logs, errors, answers.

Standard library only: the worker imports this.
"""

import ast
import base64
import json
import re
from collections.abc import Iterator, Mapping
from urllib.parse import quote

MASK = "***"
MAX_REASON_BYTES = 4096
_MIN_SECRET_CHARS = 6
"""Shorter values (``1``, ``true``, ``INFO``) are no secrets, and masking them ruins every text."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\x1b]")


class Masker:
    """Replaces the values of an environment by ``***``, in each form that text may hold them.

    Covered: the value itself, its lines, the texts inside it when it is JSON or a
    Python literal, and each of these
    escaped as JSON or ``repr`` do, in base64 and in a URL. A value under six characters is left.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        forms = {form for value in environment.values() for form in _forms(value)}
        longest_first = sorted(forms, key=lambda form: (-len(form), form))
        self.longest = len(longest_first[0]) if longest_first else 0
        self._pattern = re.compile("|".join(map(re.escape, longest_first))) if forms else None

    def mask(self, text: str) -> str:
        """Return ``text`` without any of the values."""
        return text if self._pattern is None else self._pattern.sub(MASK, text)

    def reason(self, text: str) -> str:
        """Return ``text`` as fit for an error: masked, no control characters, at most 4 KiB."""
        clean = _CONTROL.sub(" ", self.mask(text))
        raw = clean.encode("utf-8", "replace")
        if len(raw) <= MAX_REASON_BYTES:
            return raw.decode()
        return raw[: MAX_REASON_BYTES - 3].decode("utf-8", "ignore") + "..."


def _forms(value: str) -> Iterator[str]:
    for text in _texts(value):
        if len(text) >= _MIN_SECRET_CHARS:
            yield text
            yield json.dumps(text)[1:-1]
            yield json.dumps(text, ensure_ascii=False)[1:-1]
            yield repr(text)[1:-1]
            yield quote(text, safe="", errors="replace")
            yield base64.b64encode(text.encode(errors="replace")).decode().rstrip("=")


def _texts(value: str) -> Iterator[str]:
    yield value
    yield value.strip()
    yield from (line.strip() for line in value.splitlines())
    if value.lstrip()[:1] in ("{", "["):
        yield from _leaves(_read_document(value))


def _read_document(value: str) -> object:
    """Return what the value means as JSON or as a Python literal (``str(dict)``, seed 002)."""
    for read in (json.loads, ast.literal_eval):
        try:
            return read(value)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return None


def _leaves(document: object) -> Iterator[str]:
    pending = [document]
    while pending:
        part = pending.pop()
        if isinstance(part, str):
            yield part
            yield from (line.strip() for line in part.splitlines())
        elif isinstance(part, dict):
            pending.extend(part.values())
        elif isinstance(part, list):
            pending.extend(part)
