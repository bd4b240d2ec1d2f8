"""Recognising credentials, so that packing can refuse them."""

import re
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

_KEY_FILES = (
    ".env",
    ".env.*",
    "*.env",
    ".netrc",
    "_netrc",
    ".pypirc",
    ".pgpass",
    ".htpasswd",
    ".git-credentials",
    "application_default_credentials.json",
    "id_rsa",
    "id_dsa",
    "id_ecdsa",
    "id_ed25519",
    "*.jks",
    "*.kdbx",
    "*.key",
    "*.keystore",
    "*.p12",
    "*.pfx",
    "*.ppk",
)
_EXAMPLES = ("*.example", "*.sample", "*.template")

_CONTENT = re.compile(
    rb"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
    rb"|\b(?:"
    rb"sk-(?:proj-|ant-|svcacct-)?[A-Za-z0-9_-]{40,}"  # OpenAI, Anthropic
    rb"|AKIA[0-9A-Z]{16}"  # AWS
    rb"|AIza[0-9A-Za-z_-]{35}"  # Google
    rb"|gh[pousr]_[A-Za-z0-9]{36}"  # GitHub
    rb"|hf_[A-Za-z0-9]{34}"  # Hugging Face
    rb"|xox[baprs]-[A-Za-z0-9-]{20,}"  # Slack
    rb")"
)
_SERVICE_ACCOUNT = re.compile(rb"\"type\"\s{0,20}:\s{0,20}\"service_account\"")
_PUBLIC_PEM = re.compile(rb"-----BEGIN (?:TRUSTED )?(?:CERTIFICATE|PUBLIC KEY|X509 CRL)")
_CHUNK_BYTES = 4 << 20
_OVERLAP_BYTES = 512


def looks_secret(name: PurePosixPath, path: Path) -> bool:
    """Return whether the file at ``path``, to be packed as ``name``, holds a credential.

    By name: key stores, key files, ``.env``. By content: a private key in PEM, a service
    account's JSON, the tokens of well-known services; a ``.pem`` without certificates.
    """
    lowered = name.name.lower()
    if any(fnmatch(lowered, pattern) for pattern in _EXAMPLES):
        return _content_matches(path, _CONTENT)
    if any(fnmatch(lowered, pattern) for pattern in _KEY_FILES):
        return True
    if lowered.endswith(".pem") and not _content_matches(path, _PUBLIC_PEM):
        return True
    if lowered.endswith(".json") and _content_matches(path, _SERVICE_ACCOUNT):
        return True
    return _content_matches(path, _CONTENT)


def _content_matches(path: Path, pattern: re.Pattern[bytes]) -> bool:
    """Search the whole file, in chunks that overlap so that nothing hides on a border."""
    tail = b""
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            if pattern.search(tail + chunk):
                return True
            tail = chunk[-_OVERLAP_BYTES:]
    return False
