import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byop.errors import InvalidPayloadError
from byop.json_text import MAX_JSON_DEPTH, read_json

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(VALUES)
def test_json_is_read_as_it_was_written(value: object) -> None:
    assert read_json(json.dumps(value)) == value
    assert read_json(json.dumps(value, ensure_ascii=False).encode()) == value


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "nonsense", "{", "[1,]", "{'a': 1}", "[1] [2]", "// x\n1", "\ufeff1"),
        *("NaN", "Infinity", "-Infinity", "[1e400]", "9" * 5000, '"\\ud800"', '"\ud800"', '"\n"'),
        *('{"a": 1, "a": 1}', '[{"b": {"a": 1, "a": 2}}]', '{"a": 1, "\\u0061": 2}'),
        *("[" * 100_000, "[" * 1000 + "]" * 1000),
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidPayloadError):
        read_json(text)


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")])
def test_depth_has_a_limit(opening: str, closing: str) -> None:
    levels = MAX_JSON_DEPTH // len(closing)
    read_json(opening * levels + "1" + closing * levels)
    with pytest.raises(InvalidPayloadError, match="deeper than 64 levels"):
        read_json(opening * (levels + 1) + "1" + closing * (levels + 1))


def test_a_repeated_key_among_100_000_is_found_in_no_time() -> None:
    # Comparing every key with every other would take minutes.
    names = [f'"{number}":0' for number in range(100_000)]
    text = "{" + ",".join([*names, names[-1]]) + "}"
    started = time.monotonic()
    with pytest.raises(InvalidPayloadError, match="says key '99999' twice"):
        read_json(text)
    assert time.monotonic() - started < 10
