"""Recognising credentials, so that packing can refuse them and an upload can warn of them."""

import re
from collections.abc import Callable, Iterable, Iterator
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


def looks_secret(name: PurePosixPath, chunks: Callable[[], Iterable[bytes]]) -> bool:
    """Return whether a file of that name and content holds a credential.

    By name: key stores, key files, ``.env``. By content: a private key in PEM, a service
    account's JSON, the tokens of well-known services; a ``.pem`` without certificates.
    ``chunks`` gives the content anew at each call.
    """
    lowered = name.name.lower()
    if any(fnmatch(lowered, pattern) for pattern in _EXAMPLES):
        return _content_matches(chunks(), _CONTENT)
    if any(fnmatch(lowered, pattern) for pattern in _KEY_FILES):
        return True
    if lowered.endswith(".pem") and not _content_matches(chunks(), _PUBLIC_PEM):
        return True
    if lowered.endswith(".json") and _content_matches(chunks(), _SERVICE_ACCOUNT):
        return True
    return _content_matches(chunks(), _CONTENT)


def file_chunks(path: Path) -> Iterator[bytes]:
    """Yield the content of a file."""
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk


def _content_matches(chunks: Iterable[bytes], pattern: re.Pattern[bytes]) -> bool:
    """Search the whole content; the chunks overlap so that nothing hides on a border."""
    tail = b""
    for chunk in chunks:
        if pattern.search(tail + chunk):
            return True
        tail = chunk[-_OVERLAP_BYTES:]
    return False
