from dataclasses import fields
from pathlib import Path

import pytest

from byop.errors import SettingsInvalidError
from byop.settings import Settings, load_settings


def test_no_variables_give_the_defaults() -> None:
    assert load_settings({"PATH": "/bin"}) == Settings()


def test_variables_are_read_in_their_types() -> None:
    settings = load_settings(
        {"BYOP_MAX_ANSWER_BYTES": "7", "BYOP_MAX_PENDING_BYTES": "8"}
        | {
            "BYOP_HOME": "/data",
            "BYOP_PORT": "9000",
            "BYOP_DRAIN_S": "1.5",
            "BYOP_INSTALLER": "pip",
        }
    )
    assert settings.home == Path("/data")
    assert settings.port == 9000
    assert (settings.max_answer_bytes, settings.max_pending_bytes) == (7, 8)
    assert settings.drain_s == 1.5
    assert settings.installer == "pip"


def test_relative_folders_become_absolute() -> None:
    settings = load_settings({"BYOP_HOME": "data", "BYOP_ENVIRONMENTS_DIR": "environments"})
    assert settings.home == Path.cwd() / "data"
    assert settings.environments_path == Path.cwd() / "environments"


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("BYOP_PORT", "http"),
        ("BYOP_PORT", "-1"),
        ("BYOP_INSTALLER", "conda"),
        ("BYOP_DRAIN_S", "0"),
        ("BYOP_DRAIN_S", "nan"),
        ("BYOP_LOG_DURABILITY", "maybe"),
        ("BYOP_TYPO", "1"),
    ],
)
def test_wrong_variable_is_named(variable: str, text: str) -> None:
    with pytest.raises(SettingsInvalidError, match=variable):
        load_settings({variable: text})


def test_repr_hides_secrets() -> None:
    settings = Settings(
        secret_key="canary-a",  # noqa: S106 - test data
        admin_password="canary-b",  # noqa: S106 - test data
        database_url="postgresql://u:canary-c@h/d",
    )
    assert "canary" not in repr(settings)


def test_every_setting_is_documented() -> None:
    documented = (Path(__file__).parents[1] / "docs" / "settings.md").read_text()
    missing = [f.name for f in fields(Settings) if f"`BYOP_{f.name.upper()}`" not in documented]
    assert missing == []
