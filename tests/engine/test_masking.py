import base64
import json
from urllib.parse import quote

import pytest

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
