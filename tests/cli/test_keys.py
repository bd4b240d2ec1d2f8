import base64
import subprocess
import sys
from pathlib import Path

import pytest

from byop.settings import Settings
from byop.store.metadata import SqlMetadataStore
from byop.store.secrets import KEY_FILE, AesGcmSecretBox

KEY = base64.b64encode(bytes(range(32))).decode()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    box = AesGcmSecretBox.load(home, "")
    SqlMetadataStore(Settings(home=home).metadata_url, secrets=box).close()
    return home


def _keys(home: Path, *arguments: str, code: int = 0, **environ: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "byop", "keys", *arguments, "--home", str(home)],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def test_keys_are_listed_by_id_never_by_value(home: Path) -> None:
    shown = _keys(home, "list")
    assert shown.split()[1:4] == ["2", "sealed", "values"]
    assert (home / KEY_FILE).read_text().strip() not in shown


def test_rotation_tells_the_id_of_the_new_key(home: Path, tmp_path: Path) -> None:
    before = _keys(home, "list").split()[0]
    given = tmp_path / "new"
    given.write_text(KEY + "\n")
    shown = _keys(home, "rotate", "--new-key-file", str(given))
    after = _keys(home, "list").split()[0]
    assert after in shown
    assert after != before
    assert KEY not in shown


def test_rotation_of_a_key_in_the_environment_says_what_to_set(home: Path) -> None:
    old = (home / KEY_FILE).read_text().strip()
    refused = _keys(home, "rotate", code=1, BYOP_SECRET_KEY=old)
    assert "BYOP_SECRET_KEY_PREVIOUS" in refused
    done = _keys(home, "rotate", BYOP_SECRET_KEY=KEY, BYOP_SECRET_KEY_PREVIOUS=old)
    assert "not needed any more" in done
    assert old not in refused + done


def test_signing_key_is_rotated(home: Path) -> None:
    assert "from the next start on" in _keys(home, "rotate-signing")
    assert "from the next start on" in _keys(home, "rotate-signing", "--at-once")
    assert _keys(home, "list").split()[1] == "3"


def test_folder_of_no_server_is_one_line(tmp_path: Path) -> None:
    assert len(_keys(tmp_path, "list", code=1).splitlines()) == 1
