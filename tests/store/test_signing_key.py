from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from byop.errors import SecretKeyInvalidError
from byop.store.secrets import AesGcmSecretBox
from byop.store.signing_key import (
    SIGNING_KEY_FILE,
    load_signing_keys,
    reseal_signing_keys,
    rotate_signing_key,
)

BOX = AesGcmSecretBox(bytes(32))
NEXT_BOX = AesGcmSecretBox(bytes(31) + b"\1", bytes(32))


def _numbers(keys: list[RSAPrivateKey]) -> list[int]:
    return [key.public_key().public_numbers().n for key in keys]


def test_key_is_made_once_and_kept_sealed(tmp_path: Path) -> None:
    made = _numbers(load_signing_keys(tmp_path, BOX))
    assert _numbers(load_signing_keys(tmp_path, BOX)) == made
    path = tmp_path / SIGNING_KEY_FILE
    assert path.stat().st_mode & 0o777 == 0o600
    assert b"PRIVATE" not in path.read_bytes()


def test_rotation_keeps_the_key_before_and_no_earlier_one(tmp_path: Path) -> None:
    first = _numbers(load_signing_keys(tmp_path, BOX))[0]
    rotate_signing_key(tmp_path, BOX, keep_previous=True)
    second, before = _numbers(load_signing_keys(tmp_path, BOX))
    assert before == first
    rotate_signing_key(tmp_path, BOX, keep_previous=True)
    third = _numbers(load_signing_keys(tmp_path, BOX))
    assert third[1:] == [second]
    rotate_signing_key(tmp_path, BOX, keep_previous=False)
    fourth = _numbers(load_signing_keys(tmp_path, BOX))
    assert len(fourth) == 1
    assert fourth[0] not in {first, second, *third}


def test_resealing_keeps_the_keys_under_another_seal(tmp_path: Path) -> None:
    reseal_signing_keys(tmp_path, BOX)
    assert list(tmp_path.iterdir()) == []
    made = _numbers(load_signing_keys(tmp_path, BOX))
    reseal_signing_keys(tmp_path, NEXT_BOX)
    assert _numbers(load_signing_keys(tmp_path, NEXT_BOX)) == made
    with pytest.raises(SecretKeyInvalidError):
        load_signing_keys(tmp_path, BOX)
