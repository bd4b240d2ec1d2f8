"""Reading a zip from somebody else: every entry is checked before the first byte is given out."""

import stat
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from byop.bundle.archive_limits import DEFAULT_LIMITS, ArchiveLimits
from byop.bundle.archive_names import require_apart, safe_path
from byop.bundle.zip_directory import ZipEntry, read_directory
from byop.errors import InvalidArchiveError

_CHUNK_BYTES = 1 << 20
_SMALL_BYTES = 1 << 20
"""Up to this size a high ratio does no harm: many honest text files have one."""

_JUNK = ("__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini")


@dataclass(frozen=True, slots=True)
class ArchiveEntry:
    """A file in a zip. ``path`` is safe and relative, a single top folder taken off."""

    path: PurePosixPath
    zip_entry: ZipEntry

    @property
    def size_bytes(self) -> int:
        """Its size unpacked."""
        return self.zip_entry.size_bytes

    @property
    def is_executable(self) -> bool:
        """Whether its owner could execute it."""
        return bool(self.zip_entry.mode & stat.S_IXUSR)


class Archive:
    """An open zip whose entries were all checked; ``entries`` are its files, sorted by path."""

    def __init__(self, archive: zipfile.ZipFile, entries: Sequence[ArchiveEntry]) -> None:
        self.entries = entries
        self._archive = archive
        self._infos = {info.header_offset: info for info in archive.infolist()}

    def chunks(self, entry: ArchiveEntry) -> Iterator[bytes]:
        """Yield the file's bytes: as many as the directory told, or an error."""
        left = entry.zip_entry.size_bytes
        with self._archive.open(self._infos[entry.zip_entry.offset]) as source:
            while chunk := source.read(_CHUNK_BYTES):
                left -= len(chunk)
                if left < 0:
                    break
                yield chunk
        if left:
            raise entry.zip_entry.refused("has another size than it tells")

    def read(self, entry: ArchiveEntry) -> bytes:
        """Return the file's bytes."""
        return b"".join(self.chunks(entry))


def check_archive(
    zip_path: Path, limits: ArchiveLimits = DEFAULT_LIMITS, *, needs_python: bool = False
) -> None:
    """Make sure that the zip can be unpacked, by reading it whole. Nothing is written.

    Raises:
        InvalidArchiveError: It cannot; or it holds no Python file although it needs one.
    """
    with open_archive(zip_path, limits) as archive:
        if needs_python and not any(entry.path.suffix == ".py" for entry in archive.entries):
            raise InvalidArchiveError("It holds no Python file.")
        for entry in archive.entries:
            for _chunk in archive.chunks(entry):
                pass


@contextmanager
def open_archive(zip_path: Path, limits: ArchiveLimits = DEFAULT_LIMITS) -> Iterator[Archive]:
    """Open the zip after checking every entry; reading it raises where it is damaged.

    Raises:
        InvalidArchiveError: It is no zip, contradicts itself, is over a limit, or has an entry
            that must not be unpacked.
    """
    with zip_path.open("rb") as file:
        entries = _checked(read_directory(file, limits), limits)
        try:
            with zipfile.ZipFile(file) as archive:
                yield Archive(archive, entries)
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise InvalidArchiveError(f"It is damaged: {error}.") from error
        except NotImplementedError as error:
            raise InvalidArchiveError(f"It cannot be read: {error}.") from error


def _checked(entries: Sequence[ZipEntry], limits: ArchiveLimits) -> list[ArchiveEntry]:
    """Return the files, without what macOS and Windows add; everything was checked."""
    named = [(safe_path(entry, limits), entry) for entry in entries]
    for entry in entries:
        _require_readable(entry, limits)
    require_apart(named)
    _require_small(entries, limits)
    files = {
        path: entry
        for path, entry in named
        if not entry.is_folder and not any(part in _JUNK for part in path.parts)
    }
    if not files:
        raise InvalidArchiveError("It has no files.")
    depth = _top_folder_depth(files)
    return [
        ArchiveEntry(PurePosixPath(*path.parts[depth:]), entry)
        for path, entry in sorted(files.items(), key=lambda item: str(item[0]))
    ]


def _require_readable(entry: ZipEntry, limits: ArchiveLimits) -> None:
    size_bytes, packed_bytes = entry.size_bytes, entry.packed_bytes
    if entry.is_encrypted:
        raise entry.refused("is encrypted")
    if entry.method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise entry.refused("is compressed by another method than deflate")
    if entry.method == zipfile.ZIP_STORED and size_bytes != packed_bytes:
        raise entry.refused("has two sizes although it is not compressed")
    if entry.is_folder and size_bytes:
        raise entry.refused("is a folder with content")
    if size_bytes > _SMALL_BYTES and size_bytes > limits.ratio * packed_bytes:
        raise entry.refused(f"unpacks to more than {limits.ratio} times its size")


def _require_small(entries: Sequence[ZipEntry], limits: ArchiveLimits) -> None:
    total = sum(entry.size_bytes for entry in entries)
    packed = sum(entry.packed_bytes for entry in entries)
    if total > limits.total_bytes:
        raise InvalidArchiveError(f"It unpacks to more than {limits.total_bytes} bytes.")
    if total > _SMALL_BYTES and total > limits.ratio * packed:
        raise InvalidArchiveError(f"It unpacks to more than {limits.ratio} times its size.")


def _top_folder_depth(entries: Mapping[PurePosixPath, ZipEntry]) -> int:
    """Return 1 when every file lies below one same top folder, else 0."""
    tops = {path.parts[0] for path in entries}
    return 1 if len(tops) == 1 and all(len(path.parts) > 1 for path in entries) else 0
