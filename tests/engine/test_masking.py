import base64
import json
import time
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byop.engine.masking import MAX_REASON_BYTES, Masker

VALUE = 'sk-"quoted"\n\\and long/+ é'
PEM = "-----BEGIN KEY-----\nMIIEvQIBADANBg\nkqhkiG9w0BAQEF\n-----END KEY-----\n"


@pytest.mark.parametrize(
    "shown",
    [
        VALUE,
        json.dumps(VALUE),
        json.dumps(VALUE, ensure_ascii=False),
        repr(VALUE),
        quote(VALUE, safe=""),
        base64.b64encode(VALUE.encode()).decode(),
        f"Bearer {VALUE}!",
        VALUE.splitlines()[1],
    ],
)
def test_value_is_masked_in_every_form(shown: str) -> None:
    masked = Masker({"KEY": VALUE}).mask(f"before {shown} after")
    assert "***" in masked
    assert not any(part in masked for part in ("quoted", "and long"))
    assert masked.startswith("before")
    assert masked.endswith("after")


@pytest.mark.parametrize("write", [json.dumps, str])
def test_secrets_inside_a_document_are_masked(write: object) -> None:
    document = {"type": "service", "keys": [{"private_key": PEM}]}
    assert callable(write)
    masker = Masker({"CREDENTIALS": write(document)})
    for text in (PEM, json.dumps(PEM), "line: MIIEvQIBADANBg", repr(PEM)):
        masked = masker.mask(text)
        assert "MIIEvQ" not in masked
        assert "kqhkiG9w" not in masked


def test_short_values_stay() -> None:
    assert Masker({"DEBUG": "1", "MODE": "true"}).mask("1 is true") == "1 is true"


def test_longer_value_wins_over_one_that_it_contains() -> None:
    assert Masker({"A": "secret", "B": "secret-and-more"}).mask("secret-and-more") == "***"


def test_reason_is_short_masked_and_without_control_characters() -> None:
    reason = Masker({"KEY": "topsecret"}).reason("\x1b[31mtopsecret\x00\r" + "é" * 5000)
    assert "topsecret" not in reason
    assert len(reason.encode()) <= MAX_REASON_BYTES
    assert not any(char in reason for char in "\x1b\x00\r")
    assert reason.endswith("...")


def test_reason_keeps_lines() -> None:
    assert Masker({}).reason("a\n\tb") == "a\n\tb"


@pytest.mark.parametrize("before", ["", "a", "ab", "abc", "user:"])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_value_is_masked_inside_a_longer_text_in_base64(
    before: str, encode: Callable[[bytes], bytes]
) -> None:
    shown = encode(f"{before}sk-0123456789>?abcdef:after".encode()).decode()
    middle = encode(b"123456789>?abcd").decode()[2:-2]
    masked = Masker({"KEY": "sk-0123456789>?abcdef"}).mask(f"Basic {shown}")
    assert masked.startswith("Basic ")
    assert "***" in masked
    assert middle not in masked
    assert len(masked) < len(shown) - 10


def test_value_is_masked_in_hexadecimal() -> None:
    assert Masker({"KEY": "SECRET-Value"}).mask("<5345435245542d56616c7565>") == "<***>"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("pin 4711, not 147110", "pin ***, not 147110"),
        ("4711", "***"),
        (r"a\n4711", r"a\n***"),
        ("?pin=4711&", "?pin=***&"),
    ],
)
def test_value_of_four_characters_is_masked_where_it_stands_by_itself(
    text: str, masked: str
) -> None:
    assert Masker({"PIN": "4711"}).mask(text) == masked


@pytest.mark.parametrize("value", ["true", "False", "WARNING", "on", "eu", "443"])
def test_switches_levels_and_shorter_values_are_no_secrets(value: str) -> None:
    assert Masker({"MODE": value}).mask(f"it is {value}") == f"it is {value}"


def test_document_inside_a_document_is_opened() -> None:
    inner = json.dumps({"key": "inner-secret-1"})
    masker = Masker({"CONFIG": json.dumps({"credentials": inner})})
    assert masker.mask("inner-secret-1") == "***"


@given(
    values=st.lists(st.text("abc", min_size=6, max_size=14), min_size=1, max_size=6),
    text=st.text("abc", max_size=200),
)
def test_no_value_is_left_wherever_it_stands(values: list[str], text: str) -> None:
    environment = {str(number): value for number, value in enumerate(values)}
    masked = Masker(environment).mask(text)
    assert not any(value in part for value in values for part in masked.split("***"))
    if not any(value in text for value in values):
        assert masked == text


def test_key_file_of_many_lines_is_found_in_a_flood() -> None:
    lines = "\n".join(f"line-{number:04}-{'x' * 50}" for number in range(500))
    masker = Masker({"KEY_FILE": lines})
    flood = "nothing of interest here\n" * 40_000
    assert masker.mask(flood) == flood
    assert masker.mask(flood + lines).endswith("here\n***")


@given(
    values=st.lists(st.text("ab", min_size=60, max_size=200), min_size=1, max_size=3),
    text=st.text("ab", max_size=20),
)
def test_long_value_is_masked_whole_beside_what_resembles_it(values: list[str], text: str) -> None:
    environment = {str(number): value for number, value in enumerate(values)}
    shown = text.join(["", *values, *(value[1:] for value in values), ""])
    masked = Masker(environment).mask(shown)
    assert not any(value in part for value in values for part in masked.split("***"))


SHARED = [
    "\n".join(f"aaaaaaaa{number:06}" for number in range(6000)),
    "\n".join(f"aa{number:04}" for number in range(6000)),
    "\n".join("a" * length + "b" for length in range(8, 63)),
    "\n".join("b" * length + "a" for length in range(8, 63)),
]


@pytest.mark.parametrize("value", SHARED)
def test_values_with_a_common_beginning_cost_no_more_than_others(value: str) -> None:
    """The bound is some hundred times what it takes, and less than what comparing each takes."""
    masker = Masker({"KEY_FILE": value})
    begin_s = time.process_time()
    assert masker.mask("a" * 500_000 + "!") == "a" * 500_000 + "!"
    assert time.process_time() - begin_s < 15
    for line in (value.splitlines()[0], value.splitlines()[-1]):
        assert masker.mask(f"<{line}>") == "<***>"


def test_only_the_beginning_of_an_endless_reason_is_looked_at() -> None:
    masker = Masker({"KEY": SHARED[0]})
    begin_s = time.process_time()
    assert masker.reason("a" * 2**24).startswith("aaa")
    assert time.process_time() - begin_s < 15


@pytest.mark.parametrize("before", range(4 * MAX_REASON_BYTES - 30, 4 * MAX_REASON_BYTES + 1))
def test_reason_is_never_cut_inside_a_value(before: int) -> None:
    masker = Masker({"KEY": "SECRET-Value-0123", "NAME": "SECRET", "PIN": "PIN4"})
    padding = "SECRET-Value-0123" * (before // 17) + "." * (before % 17)
    for shown in ("SECRET-Value-0123", "SECRET", " PIN4 "):
        reason = masker.reason(f"{padding}{shown}{'.' * 2**16}")
        assert not any(part in reason for part in ("SEC", "Val", "PIN"))


def test_reason_holds_no_credential_of_anybody() -> None:
    reason = Masker({}).reason("401: Incorrect API key provided: sk-ab***yz")
    assert "sk-ab" not in reason
    assert reason.startswith("401: Incorrect API key provided: ***")


def test_reason_is_cut_after_masking_never_before() -> None:
    secret = "s3cret" * 100
    reason = Masker({"KEY": secret}).reason("x" * (MAX_REASON_BYTES - 50) + secret)
    assert "s3cret" not in reason
