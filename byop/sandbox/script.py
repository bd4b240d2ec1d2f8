"""Scripted behaviour: which prompts get which answer, error or delay (docs/providers.md)."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypeVar

import orjson

from byop.errors import InvalidPayloadError

_Value = TypeVar("_Value")
_LOWEST_ERROR_STATUS = 400
_HIGHEST_STATUS = 599


@dataclass(frozen=True, slots=True)
class Rule:
    """What to do with prompts that match. Give ``contains`` or ``matches``, or none for all.

    Attributes:
        contains: Text that the last user message holds; case counts.
        matches: Regular expression that is found in it.
        answer: Text of the answer; None leaves it to the stand-in.
        status: Answer this HTTP error (400 to 599) instead.
        code: ``error.code`` of that answer; None takes the usual one of the status.
        message: ``error.message`` of that answer.
        retry_after_s: Sent as ``retry-after`` with that answer.
        latency_s: Wait before answering; None takes the server's.
        times: The rule applies to its first so many prompts only; None to all.
    """

    contains: str | None = None
    matches: str | None = None
    answer: str | None = None
    status: int | None = None
    code: str | None = None
    message: str | None = None
    retry_after_s: float | None = None
    latency_s: float | None = None
    times: int | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be meant.

        Raises:
            InvalidPayloadError: A status that is no error, or a pattern that cannot be read.
        """
        if self.status is not None and not _LOWEST_ERROR_STATUS <= self.status <= _HIGHEST_STATUS:
            raise _invalid(f"status {self.status} is no error: use 400 to 599")
        if self.answer is not None and self.status is not None:
            raise _invalid("a rule has an answer or a status, not both")
        if self.contains is not None and self.matches is not None:
            raise _invalid("a rule has contains or matches, not both")
        if (self.latency_s or 0) < 0 or (self.retry_after_s or 0) < 0:
            raise _invalid("a duration is not negative")
        try:
            re.compile(self.matches or "")
        except re.error as error:
            raise _invalid(f"matches {self.matches!r}: {error}") from None

    def applies_to(self, prompt: str) -> bool:
        """Return whether the prompt matches."""
        if self.contains is not None:
            return self.contains in prompt
        return self.matches is None or re.search(self.matches, prompt) is not None


@dataclass(frozen=True, slots=True)
class Script:
    """Rules, of which the first that applies counts, and the models that exist (empty: any)."""

    rules: tuple[Rule, ...] = ()
    models: tuple[str, ...] = ()


def load_script(path: Path) -> Script:
    """Return the script in a ``.toml`` or ``.json`` file.

    Raises:
        InvalidPayloadError: The file cannot be read, or is no script.
    """
    try:
        text = path.read_text(encoding="utf-8")
        document = orjson.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (OSError, ValueError) as error:
        raise InvalidPayloadError(f"sandbox script {path.name}: {error}") from None
    return read_script(document)


def read_script(document: object) -> Script:
    """Return the script that a parsed file holds.

    Raises:
        InvalidPayloadError: Naming the key and what it must be.
    """
    if not isinstance(document, dict):
        raise _invalid("it must be a table with rules")
    _refuse_unknown(document, ("models", "rules"))
    rules = _read(document, "rules", list) or []
    models = _read(document, "models", list) or []
    return Script(
        rules=tuple(_read_rule(rule) for rule in rules), models=tuple(str(one) for one in models)
    )


def _read_rule(entry: object) -> Rule:
    if not isinstance(entry, dict):
        raise _invalid("each of rules must be a table")
    _refuse_unknown(entry, tuple(field.name for field in fields(Rule)))
    return Rule(
        contains=_read(entry, "contains", str),
        matches=_read(entry, "matches", str),
        answer=_read(entry, "answer", str),
        status=_read(entry, "status", int),
        code=_read(entry, "code", str),
        message=_read(entry, "message", str),
        retry_after_s=_read_seconds(entry, "retry_after_s"),
        latency_s=_read_seconds(entry, "latency_s"),
        times=_read(entry, "times", int),
    )


def _read(entry: Mapping[str, object], key: str, kind: type[_Value]) -> _Value | None:
    value = entry.get(key)
    if value is None or (isinstance(value, kind) and not isinstance(value, bool)):
        return value
    raise _invalid(f"{key} must be a {kind.__name__}, got {value!r}")


def _read_seconds(entry: Mapping[str, object], key: str) -> float | None:
    whole = isinstance(entry.get(key), int)
    value = _read(entry, key, int) if whole else _read(entry, key, float)
    return None if value is None else float(value)


def _refuse_unknown(entry: Mapping[str, object], known: tuple[str, ...]) -> None:
    unknown = sorted(entry.keys() - set(known))
    if unknown:
        raise _invalid(f"{unknown[0]!r} is not known: use {', '.join(known)}")


def _invalid(why: str) -> InvalidPayloadError:
    return InvalidPayloadError(f"sandbox script: {why}")
