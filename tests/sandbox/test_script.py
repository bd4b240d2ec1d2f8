from pathlib import Path

import pytest

from byop.errors import InvalidPayloadError
from byop.sandbox import Rule, Script, load_script, read_script

TOML = """
models = ["gpt-4o-mini"]

[[rules]]
contains = "weather"
answer = "Sunny."

[[rules]]
matches = "(?i)^fail"
status = 429
retry_after_s = 2
latency_s = 0.5
times = 3
"""
JSON = """{"models": ["gpt-4o-mini"], "rules": [
  {"contains": "weather", "answer": "Sunny."},
  {"matches": "(?i)^fail", "status": 429, "retry_after_s": 2, "latency_s": 0.5, "times": 3}
]}"""


@pytest.mark.parametrize(("name", "text"), [("script.toml", TOML), ("script.json", JSON)])
def test_both_formats_give_the_same_script(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    assert load_script(path) == Script(
        rules=(
            Rule(contains="weather", answer="Sunny."),
            Rule(matches="(?i)^fail", status=429, retry_after_s=2.0, latency_s=0.5, times=3),
        ),
        models=("gpt-4o-mini",),
    )


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ([], "must be a table"),
        ({"rule": []}, "'rule' is not known"),
        ({"rules": {}}, "rules must be a list"),
        ({"rules": ["x"]}, "must be a table"),
        ({"rules": [{"contain": "x"}]}, "'contain' is not known"),
        ({"rules": [{"contains": 7}]}, "contains must be a str"),
        ({"rules": [{"status": True}]}, "status must be a int"),
        ({"rules": [{"status": 200}]}, "status 200 is no error"),
        ({"rules": [{"status": 500, "answer": "x"}]}, "an answer or a status"),
        ({"rules": [{"contains": "x", "matches": "x"}]}, "contains or matches"),
        ({"rules": [{"matches": "("}]}, "matches '\\('"),
        ({"rules": [{"latency_s": -1}]}, "not negative"),
    ],
)
def test_what_cannot_be_meant_is_refused(document: object, why: str) -> None:
    with pytest.raises(InvalidPayloadError, match=why):
        read_script(document)


def test_file_that_is_absent_or_no_toml_is_refused(tmp_path: Path) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text("rules = [")
    for path in (broken, tmp_path / "absent.toml"):
        with pytest.raises(InvalidPayloadError, match=path.name):
            load_script(path)


def test_rule_without_a_condition_applies_to_all() -> None:
    assert Rule(answer="x").applies_to("")
    assert not Rule(contains="a").applies_to("b")
    assert Rule(matches="b$").applies_to("ab")
