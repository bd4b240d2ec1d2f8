"""JSON from outside, read by one rule.

Valid RFC 8259 text in UTF-8 and nothing else: no NaN, no Infinity, no number beyond a double, no
half of a surrogate pair, no key twice in one object, no more than 64 levels. orjson is the judge
of the text: the standard library takes the first four and crashes its stack over the last.
"""

import json
from collections import Counter
from collections.abc import Iterable, Sequence

import orjson

from byop.errors import InvalidPayloadError

MAX_JSON_DEPTH = 64

_CONTAINERS = (list, dict)


def read_json(text: bytes | str) -> object:
    """Return the value in ``text``.

    Raises:
        InvalidPayloadError: It is no JSON, nests too deep, or says a key twice.
    """
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidPayloadError(f"not valid JSON: {error}") from error
    _require_depth(value)
    try:
        json.loads(text, object_pairs_hook=_require_unique)
    except ValueError as error:
        raise InvalidPayloadError(f"not valid JSON: {str(error)[:200]}") from error
    return value


def _require_depth(value: object) -> None:
    level = [value]
    for _ in range(MAX_JSON_DEPTH):
        level = [child for one in level for child in _members(one) if type(child) in _CONTAINERS]
        if not level:
            return
    raise InvalidPayloadError(f"the JSON nests deeper than {MAX_JSON_DEPTH} levels")


def _members(value: object) -> Iterable[object]:
    if isinstance(value, list):
        return value
    return value.values() if isinstance(value, dict) else ()


def _require_unique(pairs: Sequence[tuple[str, object]]) -> None:
    if len({name for name, _ in pairs}) < len(pairs):
        [(twice, _)] = Counter(name for name, _ in pairs).most_common(1)
        raise InvalidPayloadError(f"the JSON says key {twice[:80]!r} twice in one object")
