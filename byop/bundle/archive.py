"""Zips: packing a project so that the same files give the same bytes, and unpacking safely."""

import hashlib
import os
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from byop.bundle.project_files import collect_files
from byop.bundle.secret_detection import looks_secret
from byop.errors import InvalidArchiveError, InvalidBundleError, SecretInBundleError

_EARLIEST = (1980, 1, 1, 0, 0, 0)
_PLAIN_FILE = (stat.S_IFREG | 0o644) << 16
_UNIX = 3
_ENCRYPTED_BIT = 0x1
_NAME_LIMIT = 255
_CHUNK_BYTES = 1 << 20
_JUNK = ("__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini")


@dataclass(frozen=True, slots=True)
class PackedBundle:
    """A written zip: its sha256 in hex, its size and the names in it, sorted."""

    path: Path
    sha: str
    size_bytes: int
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ArchiveEntry:
    """A file in a zip. ``path`` is safe and relative, a single top folder taken off."""

    path: PurePosixPath
    info: zipfile.ZipInfo

    @property
    def is_executable(self) -> bool:
        """Whether its owner could execute it."""
        return bool((self.info.external_attr >> 16) & stat.S_IXUSR)


def pack(folder: Path, target: Path, *, allow_secrets: bool = False) -> PackedBundle:
    """Write the project in ``folder`` to the zip ``target`` and return what was written.

    The bytes depend on names and contents alone: not on times, modes or the order on disk.
    ``target`` appears when it is complete.

    Raises:
        SecretInBundleError: A file holds a credential, and ``allow_secrets`` is not given.
        InvalidBundleError: The folder cannot be packed (see ``collect_files``), or is empty.
    """
    files = {
        name: path
        for name, path in collect_files(folder).items()
        if path.resolve() != target.resolve()
    }
    if not files:
        raise InvalidBundleError(f"{folder} has no files to pack")
    secrets = [str(name) for name, path in files.items() if looks_secret(name, path)]
    if secrets and not allow_secrets:
        raise SecretInBundleError(secrets)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial")
    try:
        _write(files, partial)
        with partial.open("rb") as written:
            sha = hashlib.file_digest(written, "sha256").hexdigest()
        size_bytes = partial.stat().st_size
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return PackedBundle(target, sha, size_bytes, tuple(map(str, files)))


def unpack(zip_path: Path, target: Path) -> None:
    """Unpack the zip into the folder ``target``, which is absent or empty before.

    A single top folder is taken off. ``target`` appears when it is complete: a crash or a bad zip
    leaves nothing behind under its name.

    Raises:
        InvalidArchiveError: It is no zip, is damaged, or has an entry that must not be unpacked.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        with open_archive(zip_path) as archive:
            for entry in read_entries(archive):
                _extract(archive, entry, partial)
        partial.chmod(0o755)
        partial.replace(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def open_archive(zip_path: Path) -> Iterator[zipfile.ZipFile]:
    """Open the zip; reading it raises InvalidArchiveError where it is damaged.

    Raises:
        InvalidArchiveError: It is no zip.
    """
    try:
        with zipfile.ZipFile(zip_path) as archive:
            yield archive
    except (zipfile.BadZipFile, zlib.error, EOFError, UnicodeDecodeError) as error:
        reason = f"It is damaged: {error}." if zipfile.is_zipfile(zip_path) else None
        raise InvalidArchiveError(reason) from error
    except NotImplementedError as error:
        raise InvalidArchiveError(f"It cannot be read: {error}.") from error


def read_entries(archive: zipfile.ZipFile) -> Sequence[ArchiveEntry]:
    """Return the files of the zip, sorted by path, without what macOS and Windows add.

    Raises:
        InvalidArchiveError: An entry would leave the target (absolute, a drive letter, ``..``),
            is a link or a device, is encrypted, is there twice, or is a file and a folder.
    """
    entries: dict[PurePosixPath, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        path = _safe_path(info)
        is_folder = info.filename.endswith(("/", "\\"))
        if is_folder or any(part in _JUNK for part in path.parts):
            continue
        if path in entries:
            raise _unsafe(info, "is in it twice")
        entries[path] = info
    _require_no_file_as_folder(entries)
    depth = _top_folder_depth(entries)
    return [
        ArchiveEntry(PurePosixPath(*path.parts[depth:]), info)
        for path, info in sorted(entries.items(), key=lambda item: str(item[0]))
    ]


def _write(files: Mapping[PurePosixPath, Path], target: Path) -> None:
    with zipfile.ZipFile(target, "w") as archive:
        for name, path in files.items():
            info = zipfile.ZipInfo(str(name), date_time=_EARLIEST)
            info.create_system = _UNIX
            info.external_attr = _PLAIN_FILE
            info.compress_type = zipfile.ZIP_DEFLATED
            info.file_size = path.stat().st_size
            with path.open("rb") as source, archive.open(info, "w") as destination:
                shutil.copyfileobj(source, destination, _CHUNK_BYTES)


def _safe_path(info: zipfile.ZipInfo) -> PurePosixPath:
    path = PurePosixPath(info.filename.replace("\\", "/"))
    kind = stat.S_IFMT(info.external_attr >> 16)
    if not info.filename:
        raise _unsafe(info, "has no name")
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise _unsafe(info, "is a link or a device")
    if info.flag_bits & _ENCRYPTED_BIT:
        raise _unsafe(info, "is encrypted")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise _unsafe(info, "is compressed by another method than deflate")
    if path.is_absolute() or ".." in path.parts or any(":" in part for part in path.parts[:1]):
        raise _unsafe(info, "would leave the target folder")
    if any(len(os.fsencode(part)) > _NAME_LIMIT for part in path.parts):
        raise _unsafe(info, f"has a name longer than {_NAME_LIMIT} bytes")
    return path


def _require_no_file_as_folder(entries: Mapping[PurePosixPath, zipfile.ZipInfo]) -> None:
    for path, info in entries.items():
        if any(parent in entries for parent in path.parents):
            raise _unsafe(info, "lies in a folder that is also a file")


def _top_folder_depth(entries: Mapping[PurePosixPath, zipfile.ZipInfo]) -> int:
    """Return 1 when every file lies below one same top folder, else 0."""
    tops = {path.parts[0] for path in entries}
    return 1 if len(tops) == 1 and all(len(path.parts) > 1 for path in entries) else 0


def _extract(archive: zipfile.ZipFile, entry: ArchiveEntry, folder: Path) -> None:
    path = folder / entry.path
    path.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(entry.info) as source, path.open("xb") as destination:
        shutil.copyfileobj(source, destination, _CHUNK_BYTES)
    path.chmod(0o755 if entry.is_executable else 0o644)


def _unsafe(info: zipfile.ZipInfo, why: str) -> InvalidArchiveError:
    return InvalidArchiveError(f"Entry {info.filename[:120]!r} {why}.")
