import base64
from pathlib import Path

import pytest

from byop.errors import SecretKeyInvalidError
from byop.store.secrets import CHECK_FILE, KEY_FILE, AesGcmSecretBox

_KEY = base64.b64encode(bytes(range(32))).decode()
_OTHER_KEY = base64.b64encode(bytes(32)).decode()


@pytest.mark.parametrize("plain", ["sk-123", "", "ключ", "line\nline\0", "\ud800", "x" * 100_000])
def test_sealed_text_opens_again(plain: str) -> None:
    box = AesGcmSecretBox(bytes(32))
    sealed = box.seal(plain, context="deployment/1/A")
    assert box.open(sealed, context="deployment/1/A") == plain


def test_sealed_bytes_do_not_hold_the_text_and_differ_each_time() -> None:
    box = AesGcmSecretBox(bytes(32))
    sealed = {box.seal("canary-value", context="c") for _ in range(100)}
    assert len(sealed) == 100
    assert not any(b"canary" in one for one in sealed)


def test_sealed_bytes_moved_to_another_row_do_not_open() -> None:
    box = AesGcmSecretBox(bytes(32))
    sealed = box.seal("value", context="deployment/1/A")
    with pytest.raises(SecretKeyInvalidError, match="deployment/2/A"):
        box.open(sealed, context="deployment/2/A")


@pytest.mark.parametrize("position", [0, 3, 12, 25, -1])
def test_changed_byte_is_noticed(position: int) -> None:
    box = AesGcmSecretBox(bytes(32))
    sealed = bytearray(box.seal("value", context="c"))
    sealed[position] ^= 1
    with pytest.raises(SecretKeyInvalidError):
        box.open(bytes(sealed), context="c")


@pytest.mark.parametrize("length", [0, 8, 9, 20, 21, 30])
def test_truncated_bytes_are_refused(length: int) -> None:
    box = AesGcmSecretBox(bytes(32))
    with pytest.raises(SecretKeyInvalidError):
        box.open(box.seal("value", context="c")[:length], context="c")


def test_another_key_is_named_as_the_reason() -> None:
    sealed = AesGcmSecretBox(bytes(32)).seal("value", context="c")
    with pytest.raises(SecretKeyInvalidError, match="another key"):
        AesGcmSecretBox(bytes(31) + b"\1").open(sealed, context="c")


def test_first_start_makes_a_private_key_file_that_later_starts_use(tmp_path: Path) -> None:
    home = tmp_path / "home"
    sealed = AesGcmSecretBox.load(home, "").seal("value", context="c")
    assert (home / KEY_FILE).stat().st_mode & 0o777 == 0o600
    assert home.stat().st_mode & 0o777 == 0o700
    assert AesGcmSecretBox.load(home, "").open(sealed, context="c") == "value"


def test_lost_key_file_fails_closed_and_no_new_key_is_made(tmp_path: Path) -> None:
    AesGcmSecretBox.load(tmp_path, "")
    (tmp_path / KEY_FILE).unlink()
    with pytest.raises(SecretKeyInvalidError, match="missing"):
        AesGcmSecretBox.load(tmp_path, "")
    assert not (tmp_path / KEY_FILE).exists()


def test_exchanged_key_fails_closed(tmp_path: Path) -> None:
    AesGcmSecretBox.load(tmp_path, _KEY)
    with pytest.raises(SecretKeyInvalidError, match="another key"):
        AesGcmSecretBox.load(tmp_path, _OTHER_KEY)


def test_key_from_settings_writes_no_key_file(tmp_path: Path) -> None:
    sealed = AesGcmSecretBox.load(tmp_path, _KEY).seal("value", context="c")
    assert [path.name for path in tmp_path.iterdir()] == [CHECK_FILE]
    assert AesGcmSecretBox.load(tmp_path, _KEY).open(sealed, context="c") == "value"


def test_dropping_the_key_setting_does_not_fall_back_to_a_new_file(tmp_path: Path) -> None:
    AesGcmSecretBox.load(tmp_path, _KEY)
    with pytest.raises(SecretKeyInvalidError, match="missing"):
        AesGcmSecretBox.load(tmp_path, "")


@pytest.mark.parametrize("key", ["short", "AAAA", "!!!!", "é" * 44, _KEY + "AAAA"])
def test_malformed_key_is_refused_without_being_shown(tmp_path: Path, key: str) -> None:
    with pytest.raises(SecretKeyInvalidError) as caught:
        AesGcmSecretBox.load(tmp_path, key)
    assert key not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_key_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    AesGcmSecretBox.load(tmp_path, "")
    (tmp_path / KEY_FILE).chmod(0o644)
    with pytest.raises(SecretKeyInvalidError, match="chmod 600"):
        AesGcmSecretBox.load(tmp_path, "")
