"""Zips: packing a project so that the same files give the same bytes, and unpacking safely."""

import hashlib
import shutil
import stat
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from byop.bundle.archive_limits import DEFAULT_LIMITS, ArchiveLimits
from byop.bundle.archive_reader import Archive, ArchiveEntry, open_archive
from byop.bundle.project_files import collect_files
from byop.bundle.sealed_folders import new_sealed_folder
from byop.bundle.secret_detection import file_chunks, looks_secret
from byop.errors import InvalidBundleError, SecretInBundleError

_EARLIEST = (1980, 1, 1, 0, 0, 0)
_PLAIN_FILE = (stat.S_IFREG | 0o644) << 16
_UNIX = 3
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class PackedBundle:
    """A written zip: its sha256 in hex, its size and the names in it, sorted."""

    path: Path
    sha: str
    size_bytes: int
    files: tuple[str, ...]


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
    secrets = [
        str(name) for name, path in files.items() if looks_secret(name, partial(file_chunks, path))
    ]
    if secrets and not allow_secrets:
        raise SecretInBundleError(secrets)
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{target.name}.partial")
    try:
        _write(files, unfinished)
        with unfinished.open("rb") as written:
            sha = hashlib.file_digest(written, "sha256").hexdigest()
        size_bytes = unfinished.stat().st_size
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)
    return PackedBundle(target, sha, size_bytes, tuple(map(str, files)))


def unpack(zip_path: Path, target: Path, limits: ArchiveLimits = DEFAULT_LIMITS) -> None:
    """Unpack the zip into the sealed folder ``target`` (see ``new_sealed_folder``).

    A single top folder is taken off.

    Raises:
        InvalidArchiveError: It is no zip, is damaged, or has an entry that must not be unpacked.
        StorageUnavailableError: The disk refuses, or is full; nothing is kept.
    """
    with open_archive(zip_path, limits) as archive, new_sealed_folder(target) as folder:
        for entry in archive.entries:
            _extract(archive, entry, folder)


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


def _extract(archive: Archive, entry: ArchiveEntry, folder: Path) -> None:
    path = folder / entry.path
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as destination:
        for chunk in archive.chunks(entry):
            destination.write(chunk)
    if entry.is_executable:
        path.chmod(0o700)
