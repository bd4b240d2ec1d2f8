"""Hiding a deployment's environment values in text: logs, errors, answers.

Imported inside model environments: standard library only.
"""

import ast
import base64
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from urllib.parse import quote, quote_plus

from byop.domain.credential_texts import scrub_credentials

MASK = "***"
MAX_REASON_BYTES = 4096
_MIN_SECRET_CHARS = 4
"""Shorter values (``1``, ``on``, ``eu``) are no secrets, and masking them ruins every text."""
_MIN_CHARS_INSIDE_WORDS = 6
"""A value below this is masked only where it stands by itself: ``chat`` leaves ``chatter``."""
_SAMPLE, _STEP = 4, 5
_NO_SECRETS = frozenset(
    {"true", "false", "none", "null", "debug", "info", "warn", "warning", "error", "critical"}
)

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\x1b]")


class Masker:
    """Replaces the values of an environment by ``***``, in each form that text may hold them.

    Covered: the value itself, its lines, the texts inside it when it is JSON or a
    Python literal, and each of these escaped as JSON or ``repr`` do, in a URL, in hexadecimal, and
    in base64, also within a longer text that was encoded. Left as they are: values under four
    characters, and the usual words for a switch or a log level.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        texts = {text for value in environment.values() for text in _secrets_in(value)}
        words = {text for text in texts if len(text) < _MIN_CHARS_INSIDE_WORDS}
        forms = {form for text in texts - words for form in _forms(text)}
        self.longest = max(map(len, forms | words), default=0)
        self._finder = _Finder({form for form in forms if len(form) >= _STEP + _SAMPLE - 1})
        short = {form for form in forms if len(form) < _STEP + _SAMPLE - 1}
        self._patterns = [re.compile(_any_of(short))] if short else []
        if words := {form for text in words for form in _plain_forms(text)}:
            begin, end = r"(?:(?<![^\W_])|(?<=\\[nrt]))", r"(?![^\W_])"
            self._patterns.append(re.compile(f"{begin}(?:{_any_of(words)}){end}"))

    def mask(self, text: str) -> str:
        """Return ``text`` without any of the values."""
        for start, end in reversed(self._finder.spans(text)):
            text = text[:start] + MASK + text[end:]
        for pattern in self._patterns:
            text = pattern.sub(MASK, text)
        return text

    def reason(self, text: str) -> str:
        """Return ``text`` as fit for an error.

        That is masked, without what looks like a credential of anybody, without control
        characters, and at most 4 KiB.
        """
        beginning = self.mask(text)[: 4 * MAX_REASON_BYTES]
        clean = _CONTROL.sub(" ", scrub_credentials(beginning))
        raw = clean.encode("utf-8", "replace")
        if len(raw) <= MAX_REASON_BYTES:
            return raw.decode()
        return raw[: MAX_REASON_BYTES - 3].decode("utf-8", "ignore") + "..."


class _Finder:
    """Finds texts of at least eight characters, at a cost that their number does not change.

    Looks at four characters of every five: a text of eight covers one of these samples wherever it
    stands, and each sample is looked up among the beginnings of all texts.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self._samples: dict[str, list[tuple[str, int]]] = {}
        for text in texts:
            for offset in range(_STEP):
                sample = text[offset : offset + _SAMPLE]
                self._samples.setdefault(sample, []).append((text, offset))

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Return where the texts stand: disjoint, in order, overlapping ones as one."""
        if not self._samples:
            return []
        samples = [text[at : at + _SAMPLE] for at in range(0, len(text), _STEP)]
        if self._samples.keys().isdisjoint(samples):
            return []
        found = {
            (at - offset, at - offset + len(known))
            for at, sample in zip(range(0, len(text), _STEP), samples, strict=True)
            for known, offset in self._samples.get(sample, ())
            if at >= offset and text.startswith(known, at - offset)
        }
        return _merged(sorted(found))


def _merged(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    disjoint: list[tuple[int, int]] = []
    for start, end in spans:
        if disjoint and start < disjoint[-1][1]:
            disjoint[-1] = (disjoint[-1][0], max(end, disjoint[-1][1]))
        else:
            disjoint.append((start, end))
    return disjoint


def _any_of(texts: Iterable[str]) -> str:
    return "|".join(map(re.escape, sorted(texts, key=lambda text: (-len(text), text))))


def _secrets_in(value: str) -> Iterator[str]:
    for text in _texts(value):
        if len(text) >= _MIN_SECRET_CHARS and text.lower() not in _NO_SECRETS:
            yield text


def _texts(value: str) -> Iterator[str]:
    yield value
    yield value.strip()
    yield from (line.strip() for line in value.splitlines())
    if _is_document(value):
        yield from _leaves(_read_document(value))


def _is_document(value: str) -> bool:
    return value.lstrip()[:1] in ("{", "[")


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
            yield from (part, part.strip(), *map(str.strip, part.splitlines()))
            if _is_document(part):
                pending.append(_read_document(part))
        elif isinstance(part, dict):
            pending.extend(part.values())
        elif isinstance(part, (list, tuple)):
            pending.extend(part)


def _forms(text: str) -> Iterator[str]:
    yield from _plain_forms(text)
    raw = text.encode(errors="replace")
    yield raw.hex()
    yield from _base64_parts(raw, base64.b64encode)
    yield from _base64_parts(raw, base64.urlsafe_b64encode)


def _plain_forms(text: str) -> Iterable[str]:
    escaped = json.dumps(text)[1:-1]
    return (
        text,
        escaped,
        json.dumps(escaped)[1:-1],
        json.dumps(text, ensure_ascii=False)[1:-1],
        escaped.replace("/", "\\/"),
        repr(text)[1:-1],
        repr(text.encode(errors="replace"))[2:-1],
        quote(text, safe="", errors="replace"),
        quote(text, errors="replace"),
        quote_plus(text, errors="replace"),
        base64.b64encode(text.encode(errors="replace")).decode().rstrip("="),
    )


def _base64_parts(raw: bytes, encode: Callable[[bytes], bytes]) -> Iterator[str]:
    """Return what of ``raw`` shows in the base64 of a text that holds it at any place.

    A character stands for six bits, so there are three alignments; characters that share bits with
    what is before or after are left out.
    """
    yield encode(raw).decode().rstrip("=")
    for before in range(3):
        whole = encode(bytes(before) + raw).decode()
        first = (before * 8 + 5) // 6
        yield whole[first : (before + len(raw)) * 8 // 6]
