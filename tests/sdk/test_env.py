import pytest

from byop.sdk import MissingVariableError, require_env


def test_set_variable_is_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANY_KEY", "value")
    assert require_env("ANY_KEY") == "value"


@pytest.mark.parametrize("value", [None, ""])
def test_absent_variable_is_named(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    monkeypatch.delenv("ANY_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("ANY_KEY", value)
    with pytest.raises(MissingVariableError, match=r"'ANY_KEY' is not set.*sidekick_env") as raised:
        require_env("ANY_KEY")
    assert raised.value.variable == "ANY_KEY"
