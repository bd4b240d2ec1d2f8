import pytest

from byop.domain.deployments import SecretEnvironment, parse_memory
from byop.errors import InvalidDeploymentConfigError


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("2Gi", 2 * 1024**3),
        ("2GiB", 2 * 1024**3),
        ("999Mi", 999 * 1024**2),
        ("1.5G", 1_500_000_000),
        ("512KiB", 512 * 1024),
        ("1TiB", 1024**4),
        ("4096", 4096),
        (" 1 Gi ", 1024**3),
    ],
)
def test_memory_is_read_in_every_documented_unit(text: str, size_bytes: int) -> None:
    assert parse_memory(text) == size_bytes


@pytest.mark.parametrize("text", ["", "Gi", "2 Potatoes", "-1Gi", "1e3", "2Gi2", "1PiB"])
def test_memory_that_is_none_names_the_setting(text: str) -> None:
    with pytest.raises(InvalidDeploymentConfigError, match="sidekick_memory"):
        parse_memory(text, setting="sidekick_memory")


def test_environment_shows_names_and_no_values() -> None:
    environment = SecretEnvironment({"OPENAI_API_KEY": "sk-canary", "MODEL": "gpt-canary"})
    assert repr(environment) == "SecretEnvironment(MODEL=***, OPENAI_API_KEY=***)"
    assert "canary" not in f"{environment} {environment!r}"
    assert dict(environment) == {"OPENAI_API_KEY": "sk-canary", "MODEL": "gpt-canary"}
