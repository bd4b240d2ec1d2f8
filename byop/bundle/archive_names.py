"""Names in a zip: which may be written, and that no two of them mean one file anywhere."""

import os
import stat
import unicodedata
from collections.abc import Iterable
from pathlib import PurePosixPath

from byop.bundle.archive_limits import ArchiveLimits
from byop.bundle.zip_directory import ZipEntry

_LONGEST_PART = 255
"""Of Linux's and macOS's file systems."""

_HIDDEN = frozenset({"Cc", "Cs", "Zl", "Zp"})
_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that turn the direction of writing: they make a name look like another."""


def safe_path(entry: ZipEntry, limits: ArchiveLimits) -> PurePosixPath:
    """Return the entry's relative path, Windows slashes turned.

    Raises:
        InvalidArchiveError: It is a link or a device, would leave the target folder, is too long
            or too deep, or holds control characters.
    """
    kind = stat.S_IFMT(entry.mode)
    path = PurePosixPath(entry.name.replace("\\", "/"))
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise entry.refused("is a link or a device")
    if kind == stat.S_IFDIR and not entry.is_folder:
        raise entry.refused("is a folder by its mode and a file by its name")
    if path.is_absolute() or ".." in path.parts or any(":" in part for part in path.parts[:1]):
        raise entry.refused("would leave the target folder")
    if not path.parts and not entry.is_folder:
        raise entry.refused("has no name")
    if not entry.name.isprintable() and any(map(_is_hidden, entry.name)):
        raise entry.refused("has a control character in its name")
    if len(os.fsencode(path)) > limits.path_bytes:
        raise entry.refused(f"has a path longer than {limits.path_bytes} bytes")
    if any(len(os.fsencode(part)) > _LONGEST_PART for part in path.parts):
        raise entry.refused(f"has a name longer than {_LONGEST_PART} bytes")
    if len(path.parts) > limits.depth:
        raise entry.refused(f"lies deeper than {limits.depth} folders")
    return path


def require_apart(entries: Iterable[tuple[PurePosixPath, ZipEntry]]) -> None:
    """Make sure that the paths name different files, also where case and Unicode form are ignored.

    Raises:
        InvalidArchiveError: Two entries are one file, or a file is also a folder.
    """
    claims = _Claims()
    for path, entry in entries:
        for parent in reversed(path.parents[:-1]):
            claims.add(str(parent), entry, is_folder=True)
        claims.add(str(path), entry, is_folder=entry.is_folder)


class _Claims:
    """The paths so far, by what they are where neither case nor Unicode form counts."""

    def __init__(self) -> None:
        self._by_key: dict[str, str] = {}
        self._files: set[str] = set()
        self._folders: set[str] = set()

    def add(self, path: str, entry: ZipEntry, *, is_folder: bool) -> None:
        if is_folder and path in self._folders:
            return
        if path in self._files:
            as_folder = f"needs a folder {path[:120]!r} that is also a file"
            raise entry.refused(as_folder if is_folder else "is in it twice")
        if path in self._folders:
            raise entry.refused("is a folder and also a file")
        taken = self._by_key.setdefault(_composed(_composed(path).casefold()), path)
        if taken != path:
            how = "case" if _composed(taken) != _composed(path) else "Unicode form"
            raise entry.refused(f"differs from {taken[:120]!r} in {how} only")
        (self._folders if is_folder else self._files).add(path)


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _is_hidden(character: str) -> bool:
    return unicodedata.category(character) in _HIDDEN or character in _TURNING
