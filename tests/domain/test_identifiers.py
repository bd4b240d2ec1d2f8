import pytest

from byop.domain.identifiers import require_dns_label
from byop.errors import InvalidNameError


@pytest.mark.parametrize("name", ["a", "ccfraud", "openai-chat", "a1", "1a", "x" * 63])
def test_dns_label_is_accepted(name: str) -> None:
    assert require_dns_label("model", name) == name


@pytest.mark.parametrize(
    "name",
    ["", "-a", "a-", "A", "a_b", "a.b", "a b", "x" * 64, "ä", "a\n", "../a", "a/b", "a\0"],
)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(InvalidNameError, match="model name"):
        require_dns_label("model", name)
