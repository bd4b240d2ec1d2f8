"""Requirement lines that may be given to an installer: packages by name, and nothing else."""

import re
from collections.abc import Iterable

from byop.errors import InvalidBundleError

_COMMENT = re.compile(r"(^|\s)#.*$")
_HASH = re.compile(r"\s+--hash[=\s]\S+")
_NAME = re.compile(r"(?P<name>[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?)\s*(?:\[[^\]]*\]\s*)?(?P<rest>.*)")
_SPECIFIER = re.compile(r"[=<>!~(;]")
_REFERENCE = re.compile(r"@\s*(?:https|git\+https)://\S+(?:\s*;.*)?")
_ARCHIVE_ENDINGS = (".whl", ".zip", ".tar.gz", ".tgz", ".tar.bz2", ".txt", ".toml")


def clean_requirements(lines: Iterable[str]) -> tuple[str, ...]:
    """Return the lines without comments, sorted, each once.

    Allowed are ``name``, extras, versions, markers, ``--hash``, and ``name @ https://...`` or
    ``name @ git+https://...``.

    Raises:
        InvalidBundleError: A line is an installer option (``-r``, ``-e``, ``--index-url``), a
            path, another kind of URL, or holds ``${...}``, which installers replace by their
            own environment.
    """
    return tuple(sorted({clean for line in lines if (clean := _clean(line))}))


def _clean(line: str) -> str:
    text = _COMMENT.sub("", line).strip()
    if not text:
        return ""
    bare = _HASH.sub("", text)
    if bare.startswith("-") or " --" in bare:
        raise _refused(text, "options of the installer are the server's settings")
    if "${" in text or "\n" in text or "\\" in text:
        raise _refused(text, "give one package per line, as it stands")
    found = _NAME.fullmatch(bare)
    if found is None or found["name"].lower().endswith(_ARCHIVE_ENDINGS):
        raise _refused(text, "name a package: files and folders cannot be installed")
    rest = found["rest"].strip()
    if rest.startswith("@"):
        if not _REFERENCE.fullmatch(rest):
            raise _refused(text, "a reference must begin with https:// or git+https://")
    elif rest and not _SPECIFIER.match(rest):
        raise _refused(text, "name a package: files and folders cannot be installed")
    return text


def _refused(line: str, why: str) -> InvalidBundleError:
    return InvalidBundleError(f"requirement {line[:200]!r} is not allowed: {why}")
