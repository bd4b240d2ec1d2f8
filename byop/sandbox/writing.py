"""Answers made from the prompt alone: the same prompt always gets the same text."""

import re
from hashlib import blake2b

_TOKEN = re.compile(r"\w+|[^\w\s]")
_PIECE = re.compile(r"\s*\S+|\s+")
_EXCERPT_WORDS = 14

_OPENINGS = (
    "Good question.",
    "Happy to help.",
    "Thank you for asking.",
    "Let us look at it together.",
)
_MIDDLES = (
    "On \u201c{excerpt}\u201d most people agree about the basics and differ about the details.",
    "As for \u201c{excerpt}\u201d: it is easier than it looks once it is cut into small steps.",
    "To \u201c{excerpt}\u201d the short answer is: start small, measure, and then decide.",
    "About \u201c{excerpt}\u201d two things matter: what you know already and what you need next.",
    "With \u201c{excerpt}\u201d it pays to ask who will use the result, and for what.",
)
_CLOSINGS = (
    "I hope that this helps.",
    "Tell me which part you want to go into.",
    "Ask for more whenever you like.",
    "Shall I give an example?",
)


def digest_of(*parts: str) -> bytes:
    """Return 20 bytes that depend on the parts and their borders."""
    digest = blake2b(digest_size=20)
    for part in parts:
        content = part.encode("utf-8", "surrogatepass")
        digest.update(len(content).to_bytes(8, "big"))
        digest.update(content)
    return digest.digest()


def write_answer(prompt: str, choice: int = 0) -> str:
    """Return a few friendly sentences about the prompt; ``choice`` varies them."""
    picks = digest_of(prompt, str(choice))
    excerpt = " ".join(prompt.split()[:_EXCERPT_WORDS]).rstrip(".?!,;: ")
    middle = _MIDDLES[picks[1] % len(_MIDDLES)]
    return " ".join(
        (
            _OPENINGS[picks[0] % len(_OPENINGS)],
            middle.format(excerpt=excerpt or "nothing"),
            _CLOSINGS[picks[2] % len(_CLOSINGS)],
        )
    )


def count_tokens(text: str) -> int:
    """Return the number of words and signs: near what real tokenisers count, and stable."""
    return sum(1 for _ in _TOKEN.finditer(text))


def cut_at_tokens(text: str, limit: int) -> str:
    """Return the beginning of the text that holds at most ``limit`` tokens."""
    for position, token in enumerate(_TOKEN.finditer(text)):
        if position == limit:
            return text[: token.start()].rstrip()
    return text


def cut_at_stops(text: str, stops: tuple[str, ...]) -> str:
    """Return the text before the first of the stop sequences."""
    ends = [end for stop in stops if (end := text.find(stop)) >= 0]
    return text[: min(ends)] if ends else text


def pieces(text: str) -> list[str]:
    """Return the text word by word, as a stream sends it; joined they are the text."""
    return _PIECE.findall(text)
