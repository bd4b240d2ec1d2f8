import base64
import secrets
from pathlib import Path, PurePosixPath

import pytest

from byop.bundle.secret_detection import _CHUNK_BYTES, file_chunks, looks_secret

# Put together here, so that no scanner takes this file for one that holds credentials.
KEY_BLOCK = "-----BEGIN {} KEY-----\nMIIE\n-----END {} KEY-----\n"
PRIVATE = KEY_BLOCK.format("PRIVATE", "PRIVATE")
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIE\n-----END CERTIFICATE-----\n"
LETTERS = "aB3" * 20


def judge(tmp_path: Path, name: str, content: str | bytes) -> bool:
    path = tmp_path / "file"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return looks_secret(PurePosixPath(name), lambda: file_chunks(path))


SECRETS = {
    "environment file": (".env", "A=1"),
    "environment file of a stage": ("config/.env.production", "A=1"),
    "key store": ("store.P12", b"\x00"),
    "pfx": ("store.pfx", b"\x00"),
    "ssh key": ("id_ed25519", ""),
    "key file": ("server.key", ""),
    "pem that is no certificate": ("server.pem", "anything"),
    "private key in source": ("inference.py", f"KEY = '''{PRIVATE}'''"),
    "rsa key in text": ("notes.txt", KEY_BLOCK.format("RSA PRIVATE", "RSA PRIVATE")),
    "key beside a certificate": ("chain.pem", CERTIFICATE + PRIVATE),
    "service account": ("credentials.json", '{"type": "service_account", "project_id": "p"}'),
    "openai key": ("inference.py", f"KEY = 'sk-proj-{LETTERS}'"),
    "google key": ("config.yaml", f"key: AIza{LETTERS[:35]}"),
    "aws key": ("config.ini", f"id=AKIA{'A1' * 8}"),
    "github token": ("x.sh", f"export T=ghp_{LETTERS[:36]}"),
    "real values in an example": (".env.example", f"KEY=sk-{LETTERS}"),
}


@pytest.mark.parametrize(("name", "content"), SECRETS.values(), ids=SECRETS.keys())
def test_credential_is_recognised(tmp_path: Path, name: str, content: str | bytes) -> None:
    assert judge(tmp_path, name, content)


HARMLESS = {
    "example": (".env.example", "OPENAI_API_KEY=sk-..."),
    "certificates": ("ca.pem", CERTIFICATE),
    "public key": ("signer.pem", KEY_BLOCK.format("PUBLIC", "PUBLIC")),
    "other json": ("config.json", '{"type": "account"}'),
    "prose about accounts": ("README.md", '"type": "service_account" is what Google writes'),
    "placeholder": ("inference.py", "api_key='sk-your-key-here'"),
    "weights": ("weights.npz", base64.b64encode(bytes(range(256)) * 50)),
    "tokenizer": ("tokenizer.json", '{"key": "monkey", "id_rsa": 1}'),
}


@pytest.mark.parametrize(("name", "content"), HARMLESS.values(), ids=HARMLESS.keys())
def test_harmless_file_is_none(tmp_path: Path, name: str, content: str | bytes) -> None:
    assert not judge(tmp_path, name, content)


def test_credential_on_the_border_of_two_chunks_is_found(tmp_path: Path) -> None:
    before = secrets.token_bytes(_CHUNK_BYTES - 10)
    assert judge(tmp_path, "weights.bin", before + PRIVATE.encode() + bytes(100))
