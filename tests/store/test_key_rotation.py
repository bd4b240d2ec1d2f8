"""Rotation of the secret key, broken off at each of its steps."""

import base64
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from byop.errors import HomeLockedError, SecretKeyInvalidError, SettingsInvalidError
from byop.settings import Settings
from byop.store.home_lock import HomeLock
from byop.store.key_rotation import list_keys, rotate_secret_key, rotate_signing
from byop.store.metadata import SqlMetadataStore
from byop.store.secrets import CHECK_FILE, KEY_FILE, AesGcmSecretBox, read_key_file
from byop.store.signing_key import SIGNING_KEY_FILE, load_signing_keys
from tests.store.metadata_filling import VARIABLES, fill

ZERO_KEY = base64.b64encode(bytes(32)).decode()
OTHER_KEY = base64.b64encode(bytes(range(32))).decode()
SECRET = "not-a-real-secret"  # noqa: S105 - test data

DIES_AT_STEP = """
import os, sys
from dataclasses import replace
from pathlib import Path
from sqlalchemy import Engine, event
from byop.settings import Settings
from byop.store.key_rotation import rotate_secret_key

steps = int(sys.argv[2])

def step(*_):
    global steps
    steps -= 1
    if steps < 0:
        os._exit(9)

rename = Path.rename
def counted(self, target):
    step()
    rename(self, target)
    step()
Path.rename = counted
event.listen(Engine, "before_execute", lambda *_: step())
event.listen(Engine, "commit", step)
rotate_secret_key(replace(Settings(), home=Path(sys.argv[1])))
"""


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data directory as a server leaves it, its key a file of 32 zero bytes."""
    home = tmp_path_factory.mktemp("filled") / "home"
    home.mkdir(mode=0o700)
    (home / KEY_FILE).write_text(ZERO_KEY + "\n")
    (home / KEY_FILE).chmod(0o600)
    box = AesGcmSecretBox.load(home, "")
    store = SqlMetadataStore(Settings(home=home).metadata_url, secrets=box)
    fill(store)
    store.close()
    load_signing_keys(home, box)
    return home


@pytest.fixture
def settings(filled: Path, tmp_path: Path) -> Settings:
    home = tmp_path / "home"
    shutil.copytree(filled, home)
    return Settings(home=home)


def _secrets(settings: Settings) -> tuple[dict[str, str], str, int]:
    """Return what a server with these settings finds behind every seal."""
    box = AesGcmSecretBox.load(settings.home, settings.secret_key, settings.secret_key_previous)
    store = SqlMetadataStore(settings.metadata_url, secrets=box)
    try:
        (deployment,) = store.deployments.list_deployed()
        (model,) = (m for m in deployment.config.models.values() if m.environment)
        client = store.users.get_client("api-client")
        assert client is not None
        secret = box.open(client[1], context="client/api-client/secret")
    finally:
        store.close()
    signing = load_signing_keys(settings.home, box)[0].public_key().public_numbers().n
    return dict(model.environment), secret, signing


def _key_ids(settings: Settings) -> list[str]:
    return [key.key_id for key in list_keys(settings)]


def test_rotation_seals_everything_with_a_new_key(settings: Settings, filled: Path) -> None:
    before, (old,) = _secrets(settings), list_keys(settings)
    done = rotate_secret_key(settings)

    (new,) = list_keys(settings)
    assert new.key_id == done.key_id != old.key_id
    assert new.values == old.values == done.values + 2
    assert _secrets(settings) == before
    assert before[:2] == (VARIABLES, SECRET)
    shutil.copy2(filled / KEY_FILE, settings.home / KEY_FILE)
    with pytest.raises(SecretKeyInvalidError):
        AesGcmSecretBox.load(settings.home, "")


def test_rotation_takes_a_given_key(settings: Settings) -> None:
    rotate_secret_key(settings, OTHER_KEY)
    assert read_key_file(settings.home / KEY_FILE) == [bytes(range(32))]
    assert (settings.home / KEY_FILE).stat().st_mode & 0o777 == 0o600
    assert _secrets(settings)[0] == VARIABLES


@pytest.mark.parametrize("key", ["short", "AAAA", "é" * 44])
def test_malformed_new_key_changes_nothing(settings: Settings, key: str) -> None:
    before = (settings.home / KEY_FILE).read_bytes()
    with pytest.raises(SecretKeyInvalidError) as caught:
        rotate_secret_key(settings, key)
    assert key not in str(caught.value)
    assert (settings.home / KEY_FILE).read_bytes() == before


@pytest.mark.long
def test_rotation_killed_at_any_step_loses_nothing_and_can_be_finished(
    settings: Settings, filled: Path, tmp_path: Path
) -> None:
    expected = _secrets(settings)
    states = set()
    step = 0
    while True:
        home = tmp_path / str(step)
        shutil.copytree(filled, home)
        at_home = replace(settings, home=home)
        code = subprocess.run(
            [sys.executable, "-c", DIES_AT_STEP, str(home), str(step)], check=False
        ).returncode
        states.add(tuple(key.values for key in list_keys(at_home)))
        assert _secrets(at_home) == expected
        if code == 0:
            break
        assert code == 9
        rotate_secret_key(at_home)
        assert len(_key_ids(at_home)) == 1
        assert _secrets(at_home) == expected
        step += 1
    assert step > 20
    # Nothing done; both keys known; the database done; one file more; all done.
    total = sum(max(states))
    assert {(total,), (0, total), (total - 2, 2), (total - 1, 1), (total, 0)} <= states


def test_key_in_the_environment_is_exchanged_with_both_given(settings: Settings) -> None:
    (settings.home / KEY_FILE).unlink()
    one_key = replace(settings, secret_key=ZERO_KEY)
    with pytest.raises(SettingsInvalidError, match="BYOP_SECRET_KEY_PREVIOUS"):
        rotate_secret_key(one_key)
    both = replace(settings, secret_key=OTHER_KEY, secret_key_previous=ZERO_KEY)
    assert _secrets(both)[0] == VARIABLES
    assert [key.values > 0 for key in list_keys(both)] == [False, True]

    rotate_secret_key(both)

    new_only = replace(settings, secret_key=OTHER_KEY)
    assert _secrets(new_only)[0] == VARIABLES
    assert not (settings.home / KEY_FILE).exists()
    with pytest.raises(SecretKeyInvalidError):
        _secrets(one_key)


def test_key_moves_from_the_file_into_the_environment(settings: Settings) -> None:
    both = replace(settings, secret_key=OTHER_KEY, secret_key_previous=ZERO_KEY)
    rotate_secret_key(both)
    assert _secrets(replace(settings, secret_key=OTHER_KEY))[0] == VARIABLES


def test_rows_of_an_unknown_key_keep_the_store_closed(settings: Settings) -> None:
    foreign = AesGcmSecretBox(bytes(range(32)))
    sealed = foreign.seal("x", context="deployment/1/model/1/API_KEY")
    engine = create_engine(settings.metadata_url)
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE deployment_variables SET sealed_value = :sealed WHERE name = 'API_KEY'"),
            {"sealed": sealed},
        )
    engine.dispose()
    before = (settings.home / KEY_FILE).read_bytes()
    for use in (list_keys, rotate_secret_key, _secrets):
        with pytest.raises(SecretKeyInvalidError, match="deployment_variables") as caught:
            use(settings)
        assert foreign.key_ids[0] in str(caught.value)
    assert (settings.home / KEY_FILE).read_bytes() == before


def test_value_that_was_moved_stops_the_rotation_before_it_changes_anything(
    settings: Settings,
) -> None:
    engine = create_engine(settings.metadata_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE deployment_variables SET name = 'X' WHERE name = 'EMPTY'"))
    engine.dispose()
    before = (settings.home / KEY_FILE).read_bytes()
    with pytest.raises(SecretKeyInvalidError, match="belongs elsewhere"):
        rotate_secret_key(settings)
    assert (settings.home / KEY_FILE).read_bytes() == before


@pytest.mark.parametrize("name", [KEY_FILE, CHECK_FILE, SIGNING_KEY_FILE])
def test_changed_file_stops_the_rotation(settings: Settings, name: str) -> None:
    path = settings.home / name
    raw = bytearray(path.read_bytes())
    raw[12] ^= 1
    path.write_bytes(raw)
    with pytest.raises(SecretKeyInvalidError):
        rotate_secret_key(settings)
    assert path.read_bytes() == raw


def test_running_server_keeps_its_keys(settings: Settings) -> None:
    with HomeLock(settings.home):
        for use in (list_keys, rotate_secret_key):
            with pytest.raises(HomeLockedError):
                use(settings)


def test_folder_without_a_server_is_refused_and_left_alone(tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalidError, match="no data directory"):
        rotate_secret_key(Settings(home=tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_signing_key_is_exchanged_with_and_without_the_one_before(settings: Settings) -> None:
    box = AesGcmSecretBox(bytes(32))
    rotate_signing(settings, keep_previous=True)
    assert len(load_signing_keys(settings.home, box)) == 2
    rotate_signing(settings, keep_previous=False)
    assert len(load_signing_keys(settings.home, box)) == 1
