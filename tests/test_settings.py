import os
import subprocess
import sys
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
        ("BYOP_LOG_ROLL_ROWS", "0.5"),
        ("BYOP_LOG_RETENTION_DAYS", "-1"),
        ("BYOP_LOG_RETENTION_BYTES", "all"),
        ("BYOP_MIN_FREE_BYTES", "-1"),
        ("BYOP_MAX_CONNECTIONS", "0"),
        ("BYOP_MIN_BYTES_PER_S", "0"),
        ("BYOP_WRITE_IDLE_S", "0"),
        ("BYOP_ISOLATION", "none"),
        ("BYOP_CGROUPS", "none"),
        ("BYOP_WORKER_NETWORK", "maybe"),
        ("BYOP_WORKER_READ_PATHS", "relative"),
        ("BYOP_WORKER_WRITE_PATHS", "/usr:/there/is/no/such/folder"),
        ("BYOP_TYPO", "1"),
    ],
)
def test_wrong_variable_is_named(variable: str, text: str) -> None:
    with pytest.raises(SettingsInvalidError, match=variable):
        load_settings({variable: text})


def test_repr_hides_secrets() -> None:
    settings = Settings(
        secret_key="canary-a",  # noqa: S106 - test data
        secret_key_previous="canary-d",  # noqa: S106 - test data
        admin_password="canary-b",  # noqa: S106 - test data
        database_url="postgresql://u:canary-c@h/d",
    )
    assert "canary" not in repr(settings)


def test_secret_is_read_from_a_file(tmp_path: Path) -> None:
    text, path = " pass word", tmp_path / "password"
    path.write_text(f"{text}\r\n")
    assert load_settings({"BYOP_ADMIN_PASSWORD_FILE": str(path)}).admin_password == text


@pytest.mark.parametrize("content", [None, b"", b" \n", b"\xff\xfe"])
def test_secret_file_that_gives_no_text_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsInvalidError, match="BYOP_SECRET_KEY_FILE"):
        load_settings({"BYOP_SECRET_KEY_FILE": str(path)})


def test_secret_given_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "url"
    path.write_text("sqlite:///b")
    with pytest.raises(SettingsInvalidError, match="keep one"):
        load_settings({"BYOP_DATABASE_URL": "sqlite:///a", "BYOP_DATABASE_URL_FILE": str(path)})


def test_only_secrets_may_come_from_files() -> None:
    with pytest.raises(SettingsInvalidError, match="BYOP_PORT_FILE"):
        load_settings({"BYOP_PORT_FILE": "/x"})


def test_erased_secrets_are_neither_readable_nor_inherited() -> None:
    program = (
        "import os, subprocess\n"
        "from byop.settings import erase_secrets_from_environment, load_settings\n"
        "kept = load_settings()\n"
        "erase_secrets_from_environment()\n"
        "assert kept.secret_key == kept.admin_password == 'canary-é'\n"
        "print(open('/proc/self/environ').read())\n"
        "print(os.environ)\n"
        "subprocess.run(['env'])\n"
    )
    secrets = {"BYOP_SECRET_KEY": "canary-é", "BYOP_ADMIN_PASSWORD": "canary-é"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **secrets, "OTHER": "stays"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "canary" not in done.stdout
    assert "BYOP_SECRET_KEY=*********" in done.stdout
    assert done.stdout.count("OTHER=stays") == 2


def test_every_setting_is_documented() -> None:
    documented = (Path(__file__).parents[1] / "docs" / "settings.md").read_text()
    missing = [f.name for f in fields(Settings) if f"`BYOP_{f.name.upper()}`" not in documented]
    assert missing == []
