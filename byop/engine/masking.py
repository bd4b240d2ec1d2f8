"""Hiding a deployment's environment values in text: logs, errors, answers.

Imported inside model environments: standard library only.
"""

import ast
import base64
import json
import re
import sys
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, quote_plus

from byop.domain.credential_texts import scrub_credentials

MASK = "***"
MAX_REASON_BYTES = 4096
_MIN_SECRET_CHARS = 4
"""Shorter values (``1``, ``on``, ``eu``) are no secrets, and masking them ruins every text."""
_MIN_CHARS_INSIDE_WORDS = 6
"""A value below this is masked only where it stands by itself: ``chat`` leaves ``chatter``."""
_SAMPLE, _STEP = 4, 5
_PIECE = 64
_LAST_CHAR = chr(sys.maxunicode)
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
        word_forms = {form for text in words for form in _plain_forms(text)}
        forms = {form for text in texts - words for form in _forms(text)}
        self.longest = max(map(len, forms | word_forms), default=0)
        self._finder = _Finder({form for form in forms if len(form) >= _STEP + _SAMPLE - 1})
        short = {form for form in forms if len(form) < _STEP + _SAMPLE - 1}
        self._patterns = [re.compile(_any_of(short))] if short else []
        if word_forms:
            begin, end = r"(?:(?<![^\W_])|(?<=\\[nrt]))", r"(?![^\W_])"
            self._patterns.append(re.compile(f"{begin}(?:{_any_of(word_forms)}){end}"))

    def mask(self, text: str) -> str:
        """Return ``text`` without any of the values."""
        if spans := self._finder.spans(text):
            ends = [0, *(end for _, end in spans)]
            starts = [*(start for start, _ in spans), len(text)]
            text = MASK.join(text[end:start] for end, start in zip(ends, starts, strict=True))
        for pattern in self._patterns:
            text = pattern.sub(MASK, text)
        return text

    def reason(self, text: str) -> str:
        """Return ``text`` as fit for an error.

        That is masked, without what looks like a credential of anybody, without control
        characters, and at most 4 KiB.
        """
        beginning = self.mask(self._begin(text, 4 * MAX_REASON_BYTES))
        clean = _CONTROL.sub(" ", scrub_credentials(beginning))
        raw = clean.encode("utf-8", "replace")
        if len(raw) <= MAX_REASON_BYTES:
            return raw.decode()
        return raw[: MAX_REASON_BYTES - 3].decode("utf-8", "ignore") + "..."

    def _begin(self, text: str, limit: int) -> str:
        """Return what ``text`` begins with, cut before a value that goes on beyond ``limit``."""
        if len(text) <= limit:
            return text
        window = text[: limit + self.longest]
        spans = self._finder.spans(window)
        spans += [found.span() for pattern in self._patterns for found in pattern.finditer(window)]
        for start, end in _merged(sorted(spans)):
            if start < limit < end:
                return text[:start] + MASK
        return text[:limit]


class _Finder:
    """Finds texts of at least eight characters, at a cost that their number does not change.

    Nor does what they have in common.
    Looks at four characters of every five: a text of eight covers one of these samples wherever it
    stands. A sample tells where a text could begin, and a search in a sorted list which is the
    longest that does. Long texts are found piece by piece.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        pieces = {piece for text in texts for piece in _pieces(text)}
        self._samples: dict[str, set[int]] = {}
        for piece in pieces:
            for offset in range(_STEP):
                sample = piece[offset : offset + _SAMPLE]
                self._samples.setdefault(sample, set()).add(offset)
        self._bounds, self._lengths = _ranges(sorted(pieces))

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Return where the texts stand: disjoint, in order, those that touch as one."""
        if not self._samples:
            return []
        samples = [text[at : at + _SAMPLE] for at in range(0, len(text), _STEP)]
        if self._samples.keys().isdisjoint(samples):
            return []
        starts = {
            at - offset
            for at, sample in zip(range(0, len(text), _STEP), samples, strict=True)
            for offset in self._samples.get(sample, ())
            if at >= offset
        }
        found = ((start, start + self._length_at(text, start)) for start in sorted(starts))
        return _merged([(start, end) for start, end in found if end > start])

    def _length_at(self, text: str, start: int) -> int:
        """Return how long the longest piece is that stands there, 0 when there is none."""
        return self._lengths[bisect_right(self._bounds, text[start : start + _PIECE])]


def _pieces(text: str) -> Iterator[str]:
    """Yield parts that cover the text."""
    for at in range(0, len(text) - _PIECE, _PIECE):
        yield text[at : at + _PIECE]
    yield text[-_PIECE:]


def _ranges(texts: Iterable[str]) -> tuple[list[str], list[int]]:
    """Return where, in the order of all strings, another text is the longest that they begin with.

    The length with an index, which is one more than its bound's, holds from that bound to the next.
    """
    bounds: list[str] = []
    lengths = [0]
    around: list[str] = []

    def leave() -> None:
        text = around.pop().rstrip(_LAST_CHAR)
        if text:
            bounds.append(text[:-1] + chr(ord(text[-1]) + 1))
            lengths.append(len(around[-1]) if around else 0)

    for text in texts:
        while around and not text.startswith(around[-1]):
            leave()
        bounds.append(text)
        lengths.append(len(text))
        around.append(text)
    while around:
        leave()
    return bounds, lengths


def _merged(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    disjoint: list[tuple[int, int]] = []
    for start, end in spans:
        if disjoint and start <= disjoint[-1][1]:
            disjoint[-1] = (disjoint[-1][0], max(end, disjoint[-1][1]))
        else:
            disjoint.append((start, end))
    return disjoint


def _any_of(texts: Iterable[str]) -> str:
    """Return a pattern for the longest of the texts, which tries what they share only once."""
    tree: dict[str, Any] = {}
    for text in texts:
        node = tree
        for char in text:
            node = node.setdefault(char, {})
        node[""] = {}
    return _pattern_of(tree)


def _pattern_of(node: Mapping[str, Any]) -> str:
    ways = [re.escape(char) + _pattern_of(rest) for char, rest in sorted(node.items()) if char]
    if not ways:
        return ""
    if len(ways) == 1 and "" not in node:
        return ways[0]
    return f"(?:{'|'.join(ways)}){'?' if '' in node else ''}"


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
