"""The directory of a zip, read strictly: one meaning, or none.

Programs disagree on zips that contradict themselves: entries that overlap, sizes that differ
between the directory and the header in front of the data, bytes that belong to no entry. Here the
entries must fill the file from its first byte to the directory, and everything that is told twice
must be told alike. (``zipfile`` of CPython 3.11.7 accepts all of it; it looks at overlaps since
3.11.8.)

Source: PKWARE's APPNOTE 6.3.10, sections 4.3 to 4.5, read 2026-11-21.
"""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import BinaryIO

from byop.bundle.archive_limits import ArchiveLimits
from byop.errors import InvalidArchiveError

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_END_64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR_64 = struct.Struct("<4sIQI")
_END_SIGNATURE = b"PK\5\6"
_END_64_SIGNATURE = b"PK\6\6"
_LOCATOR_64_SIGNATURE = b"PK\6\7"
_DESCRIPTOR_SIGNATURE = b"PK\7\x08"
_DESCRIPTOR_LENGTHS = {12: "<3I", 16: "<4x3I", 20: "<I2Q", 24: "<4xI2Q"}
_LONGEST_COMMENT = 0xFFFF
_ALL_ONES_16 = 0xFFFF
_ALL_ONES = 0xFFFFFFFF
_ZIP64_TAG = 1
_ENCRYPTED = 0x1 | 0x40 | 0x2000
_HAS_DESCRIPTOR = 0x8
_UTF8 = 0x800
_BYTES_PER_ENTRY = 1024
"""Room in the directory for each entry that is allowed: more is no honest directory."""


@dataclass(frozen=True, slots=True)
class ZipEntry:
    """An entry as the directory tells it. ``mode`` is Unix's, 0 where it is not told."""

    name: str
    raw_name: bytes
    flags: int
    method: int
    crc: int
    packed_bytes: int
    size_bytes: int
    mode: int
    offset: int

    @property
    def is_encrypted(self) -> bool:
        """Whether its bytes, or those of the directory, are encrypted."""
        return bool(self.flags & _ENCRYPTED)

    @property
    def is_folder(self) -> bool:
        """Whether its name says that it is a folder. Some Windows programs write backslashes."""
        return self.name.endswith(("/", "\\"))

    def refused(self, why: str) -> InvalidArchiveError:
        """Return the error that says what is wrong with this entry."""
        return InvalidArchiveError(f"Entry {self.name[:120]!r} {why}.")


@dataclass(frozen=True, slots=True)
class _Directory:
    """Where the directory lies."""

    start: int
    size_bytes: int
    entries: int


def read_directory(file: BinaryIO, limits: ArchiveLimits) -> list[ZipEntry]:
    """Return the entries in the order of the directory. No file's content is read.

    Raises:
        InvalidArchiveError: It is no zip, contradicts itself, or has too many entries.
    """
    directory = _find_directory(file)
    _require_few(directory.entries, limits)
    if directory.size_bytes > limits.entries * _BYTES_PER_ENTRY:
        raise InvalidArchiveError("Its directory is too large.")
    file.seek(directory.start)
    content = file.read(directory.size_bytes)
    entries: list[ZipEntry] = []
    for entry in _parse(content):
        entries.append(entry)
        _require_few(len(entries), limits)
    if len(entries) != directory.entries:
        raise InvalidArchiveError(
            f"It has {len(entries)} entries, and tells of {directory.entries}."
        )
    _require_tiled(file, entries, directory.start)
    return entries


def _require_few(entries: int, limits: ArchiveLimits) -> None:
    if entries > limits.entries:
        raise InvalidArchiveError(f"It has more than {limits.entries} entries.")


def _find_directory(file: BinaryIO) -> _Directory:
    """Read the records at the end; the directory must end where they begin."""
    size_bytes = file.seek(0, os.SEEK_END)
    tail_start = max(0, size_bytes - _END.size - _LONGEST_COMMENT)
    file.seek(tail_start)
    tail = file.read()
    at = tail.rfind(_END_SIGNATURE)
    if at < 0 or len(tail) - at < _END.size:
        raise InvalidArchiveError
    _, disk, first_disk, here, entries, length, start, comment = _END.unpack_from(tail, at)
    if at + _END.size + comment != len(tail):
        raise InvalidArchiveError("It has other data after its end, or is cut off.")
    if disk or first_disk or here != entries:
        raise InvalidArchiveError("It is a part of a zip in several files.")
    told = _Directory(start, length, entries)
    end = tail_start + at
    found = _read_zip64(file, end, told)
    if found is not None:
        told, end = found
    elif entries == _ALL_ONES_16 or _ALL_ONES in (length, start):
        raise InvalidArchiveError("Its zip64 record is missing.")
    if told.start + told.size_bytes != end:
        raise InvalidArchiveError("It is cut off, or has other data in front of its end.")
    return told


def _read_zip64(file: BinaryIO, end: int, told: _Directory) -> tuple[_Directory, int] | None:
    """Return the directory of the zip64 record and where that begins, None without one."""
    locator_at = end - _LOCATOR_64.size
    if locator_at < 0:
        return None
    file.seek(locator_at)
    signature, disk, record_at, disks = _LOCATOR_64.unpack(file.read(_LOCATOR_64.size))
    if signature != _LOCATOR_64_SIGNATURE:
        return None
    if disk or disks > 1 or record_at + _END_64.size != locator_at:
        raise InvalidArchiveError("Its zip64 record is not where it is told to be.")
    file.seek(record_at)
    record = _END_64.unpack(file.read(_END_64.size))
    signature, rest, _, _, disk, first_disk, here, entries, length, start = record
    if signature != _END_64_SIGNATURE or rest + 12 != _END_64.size or disk or first_disk:
        raise InvalidArchiveError("Its zip64 record cannot be read.")
    pairs = (
        (told.entries, entries, _ALL_ONES_16),
        (told.size_bytes, length, _ALL_ONES),
        (told.start, start, _ALL_ONES),
    )
    if here != entries or any(old not in (new, absent) for old, new, absent in pairs):
        raise InvalidArchiveError("Its zip64 record contradicts its end.")
    return _Directory(start, length, entries), record_at


def _parse(content: bytes) -> Iterator[ZipEntry]:
    at = 0
    while at < len(content):
        if len(content) - at < _CENTRAL.size or not content.startswith(b"PK\1\2", at):
            raise InvalidArchiveError("Its directory is damaged.")
        fields = _CENTRAL.unpack_from(content, at)
        flags, method, crc, packed, size = fields[3], fields[4], *fields[7:10]
        name_length, extra_length, comment_length, disk = fields[10:14]
        name_end = at + _CENTRAL.size + name_length
        raw_name = content[at + _CENTRAL.size : name_end]
        extra = content[name_end : name_end + extra_length]
        at = name_end + extra_length + comment_length
        if at > len(content) or disk:
            raise InvalidArchiveError("Its directory is damaged.")
        name = _decode(raw_name, flags)
        size, packed, offset = _widen(name, extra, (size, packed, fields[16]))
        yield ZipEntry(name, raw_name, flags, method, crc, packed, size, fields[15] >> 16, offset)


def _decode(raw: bytes, flags: int) -> str:
    """Read a name: macOS and many others write UTF-8 without saying so, DOS wrote cp437."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        if flags & _UTF8:
            text = raw.decode(errors="replace")
            raise InvalidArchiveError(f"The name of entry {text[:120]!r} is no UTF-8.") from None
        return raw.decode("cp437")


def _widen(name: str, extra: bytes, narrow: tuple[int, int, int]) -> tuple[int, int, int]:
    """Replace what does not fit in 32 bits by the zip64 field: size, packed size, offset."""
    field = _zip64_field(name, extra)
    missing = [index for index, value in enumerate(narrow) if value == _ALL_ONES]
    if not missing:
        if field and any(field) and struct.pack("<2Q", *narrow[:2]) != field[:16]:
            raise InvalidArchiveError(
                f"Entry {name[:120]!r} has a zip64 field that contradicts it."
            )
        return narrow
    if field is None or len(field) < 8 * len(missing):
        raise InvalidArchiveError(f"Entry {name[:120]!r} lacks its zip64 field.")
    wide = list(narrow)
    values = struct.iter_unpack("<Q", field[: 8 * len(missing)])
    for index, (value,) in zip(missing, values, strict=True):
        wide[index] = value
    return wide[0], wide[1], wide[2]


def _zip64_field(name: str, extra: bytes) -> bytes | None:
    found: bytes | None = None
    at = 0
    while at + 4 <= len(extra):
        tag, length = struct.unpack_from("<2H", extra, at)
        if at + 4 + length > len(extra):
            raise InvalidArchiveError(f"Entry {name[:120]!r} has a damaged extra field.")
        if tag == _ZIP64_TAG:
            if found is not None:
                raise InvalidArchiveError(f"Entry {name[:120]!r} has two zip64 fields.")
            found = extra[at + 4 : at + 4 + length]
        at += 4 + length
    return found


def _require_tiled(file: BinaryIO, entries: list[ZipEntry], end: int) -> None:
    """Make sure that the entries fill the file up to ``end``, each byte belonging to one."""
    ordered = sorted(entries, key=lambda entry: entry.offset)
    starts = [*(entry.offset for entry in ordered), end]
    if starts[0] != 0:
        raise InvalidArchiveError("It has other data in front of its first entry.")
    if max(starts) != end:
        raise ordered[-1].refused("is not where the directory says")
    for entry, (start, limit) in zip(ordered, pairwise(starts), strict=True):
        if start == limit:
            raise entry.refused("overlaps with another entry")
        rest = limit - _data_end(file, entry)
        if rest < 0:
            raise entry.refused("overlaps with another entry, or with the directory")
        if rest:
            _require_descriptor(file, entry, limit - rest, rest)


def _data_end(file: BinaryIO, entry: ZipEntry) -> int:
    """Compare the header in front of the data with the directory; return where the data ends."""
    file.seek(entry.offset)
    head = file.read(_LOCAL.size)
    if len(head) < _LOCAL.size or not head.startswith(b"PK\3\4"):
        raise entry.refused("is not where the directory says")
    fields: tuple[int, ...] = _LOCAL.unpack(head)[2:]
    flags, method, _, _, crc, packed, size, name_length, extra_length = fields
    raw_name = file.read(name_length)
    size, packed, _ = _widen(entry.name, file.read(extra_length), (size, packed, 0))
    told = (crc, packed, size)
    truth = (entry.crc, entry.packed_bytes, entry.size_bytes)
    comes_later = bool(flags & _HAS_DESCRIPTOR)
    is_same = (raw_name, method) == (entry.raw_name, entry.method) and all(
        mine == yours or (comes_later and mine == 0)
        for mine, yours in zip(told, truth, strict=True)
    )
    if flags & _ENCRYPTED:
        raise entry.refused("is encrypted")
    if not is_same:
        raise entry.refused("has another name, size or checksum in front of it")
    return entry.offset + _LOCAL.size + name_length + extra_length + entry.packed_bytes


def _require_descriptor(file: BinaryIO, entry: ZipEntry, at: int, length: int) -> None:
    """Make sure that what follows the data repeats its checksum and sizes and is nothing else."""
    layout = _DESCRIPTOR_LENGTHS.get(length)
    if layout is None:
        raise entry.refused("is followed by other data")
    file.seek(at)
    content = file.read(length)
    is_signed = content.startswith(_DESCRIPTOR_SIGNATURE) or "x" not in layout
    truth = (entry.crc, entry.packed_bytes, entry.size_bytes)
    if not is_signed or struct.unpack(layout, content) != truth:
        raise entry.refused("is followed by another size or checksum than the directory's")
