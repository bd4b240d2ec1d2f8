"""Zips that no honest program writes, built byte by byte, and a strategy that makes up more.

``build_zip`` writes what it is told, lies included. ``HOSTILE`` has one zip per trick with words of
the refusal. ``zips()`` is for fuzzing: whatever it gives must be accepted or refused, never break.
"""

import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from hypothesis import strategies as st

STORED, DEFLATED, BZIP2, LZMA = 0, 8, 12, 14
ENCRYPTED, DESCRIPTOR, UTF8 = 0x1, 0x8, 0x800

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_END_64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR_64 = struct.Struct("<4sIQI")
_ALL_ONES = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry. None stands for the truth; other values go into the central directory.

    ``local_name``, ``local_size`` and ``local_crc`` go into the local header. ``at`` makes the
    entry use the local header of the entry with that index instead of writing one.
    """

    name: bytes
    data: bytes = b"x"
    method: int = STORED
    flags: int = UTF8
    mode: int = 0
    size: int | None = None
    compressed: int | None = None
    crc: int | None = None
    local_name: bytes | None = None
    local_size: int | None = None
    local_crc: int | None = None
    extra: bytes = b""
    local_extra: bytes = b""
    at: int | None = None
    shift: int = 0


@dataclass(frozen=True, slots=True)
class Frame:
    """What stands around the entries. ``count`` and ``start`` lie in the end record."""

    before: bytes = b""
    gap: bytes = b""
    after: bytes = b""
    comment: bytes = b""
    count: int | None = None
    start: int | None = None
    zip64_count: int | None = None


def build_zip(entries: Sequence[Entry], frame: Frame = Frame()) -> bytes:
    """Return the zip's bytes."""
    body = bytearray(frame.before)
    directory = bytearray()
    offsets: list[int] = []
    for entry in entries:
        packed = _packed(entry)
        offsets.append(len(body) if entry.at is None else offsets[entry.at])
        if entry.at is None:
            body += _local_header(entry, packed) + packed
        directory += _central_header(entry, packed, offsets[-1] + entry.shift)
    body += frame.gap
    start = len(body)
    count = len(entries) if frame.count is None else frame.count
    body += directory
    if frame.zip64_count is not None:
        body += _zip64_end(frame.zip64_count, len(directory), start)
    told = start if frame.start is None else frame.start
    sizes = (min(count, 0xFFFF), min(count, 0xFFFF), len(directory), told, len(frame.comment))
    return bytes(body + _END.pack(b"PK\5\6", 0, 0, *sizes) + frame.comment + frame.after)


def _packed(entry: Entry) -> bytes:
    if entry.method != DEFLATED:
        return entry.data
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(entry.data) + packer.flush()


def _true_or(value: int | None, truth: int) -> int:
    return truth if value is None else value


def _local_header(entry: Entry, packed: bytes) -> bytes:
    name = entry.name if entry.local_name is None else entry.local_name
    crc = _true_or(entry.local_crc, _true_or(entry.crc, zlib.crc32(entry.data)))
    size = _true_or(entry.local_size, _true_or(entry.size, len(entry.data)))
    compressed = _true_or(entry.compressed, len(packed))
    head = _LOCAL.pack(
        *(b"PK\3\4", 20, entry.flags, entry.method, 0, 0x21),
        *(crc, compressed, size, len(name), len(entry.local_extra)),
    )
    return head + name + entry.local_extra


def _central_header(entry: Entry, packed: bytes, offset: int) -> bytes:
    head = _CENTRAL.pack(
        *(b"PK\1\2", 0x314, 20, entry.flags, entry.method, 0, 0x21),
        _true_or(entry.crc, zlib.crc32(entry.data)),
        _true_or(entry.compressed, len(packed)),
        _true_or(entry.size, len(entry.data)),
        *(len(entry.name), len(entry.extra), 0, 0, 0, entry.mode << 16, offset),
    )
    return head + entry.name + entry.extra


def _zip64_end(count: int, size: int, start: int) -> bytes:
    record = _END_64.pack(b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, start)
    return record + _LOCATOR_64.pack(b"PK\6\7", 0, start + size, 1)


def many(count: int) -> bytes:
    """Return a zip of that many empty files."""
    return build_zip([Entry(b"f%d.txt" % number, b"") for number in range(count)])


def bomb(size: int = 200 << 20) -> bytes:
    """Return a small zip of a file with that many zeros."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inference.py", "")
        with archive.open("zeros.bin", "w") as file:
            for _ in range(size >> 20):
                file.write(bytes(1 << 20))
    return sink.getvalue()


@dataclass(frozen=True, slots=True)
class HostileZip:
    """A zip that must be refused, with words of the refusal. ``number`` is of docs/security.md."""

    number: str
    fact: str
    why: str
    build: Callable[[], bytes] = field(repr=False)


FINE = Entry(b"inference.py", b"pass\n")


def _hostile(number: str, fact: str, why: str, *entries: Entry, frame: Frame) -> HostileZip:
    return HostileZip(number, fact, why, lambda: build_zip([FINE, *entries], frame))


def _entry(number: str, fact: str, why: str, *entries: Entry) -> HostileZip:
    return _hostile(number, fact, why, *entries, frame=Frame())


def _named(number: str, fact: str, why: str, *names: str) -> HostileZip:
    return _entry(number, fact, why, *(Entry(name.encode()) for name in names))


def _framed(number: str, fact: str, why: str, frame: Frame) -> HostileZip:
    return _hostile(number, fact, why, frame=frame)


_OUTSIDE = "would leave the target folder"
_LINK = stat.S_IFLNK | 0o777
_ZIP64_EXTRA = struct.pack("<2H2Q", 1, 16, 5, 5)

HOSTILE: tuple[HostileZip, ...] = (
    _named("A1", "parent", _OUTSIDE, "../../x"),
    _named("A1", "parent within", _OUTSIDE, "a/../../x"),
    _named("A1", "parent that stays inside", _OUTSIDE, "a/../x"),
    _named("A1", "folder outside", _OUTSIDE, "../x/"),
    _named("A2", "absolute", _OUTSIDE, "/abs"),
    _named("A2", "share", _OUTSIDE, "//host/share"),
    _named("A3", "drive letter", _OUTSIDE, "C:/x"),
    _named("A3", "drive letter alone", _OUTSIDE, "C:x"),
    _named("A4", "backslashes", _OUTSIDE, "a\\..\\..\\x"),
    _named("A4", "drive letter with backslashes", _OUTSIDE, "C:\\x"),
    _entry("A5", "link", "is a link", Entry(b"passwd", b"/etc/passwd", mode=_LINK)),
    _entry("A5", "link to a folder", "is a link", Entry(b"up/", b"..", mode=_LINK)),
    _entry("A6", "pipe", "is a link or a device", Entry(b"pipe", mode=stat.S_IFIFO | 0o666)),
    _entry("A6", "device", "is a link or a device", Entry(b"null", mode=stat.S_IFCHR | 0o666)),
    _entry("A6", "socket", "is a link or a device", Entry(b"s", mode=stat.S_IFSOCK | 0o666)),
    _named("A7", "twice", "is in it twice", "dup.py", "dup.py"),
    _named("A7", "twice, spelled otherwise", "is in it twice", "a/dup.py", "a//./dup.py"),
    _named("A7", "twice, with other slashes", "is in it twice", "a/dup.py", "a\\dup.py"),
    _named("A8", "case of a file", "differs from", "A.py", "a.py"),
    _named("A8", "case of a folder", "differs from", "Data/a.py", "data/b.py"),
    _named("A8", "case of an umlaut", "differs from", "Ä.py", "ä.py"),
    _named("A9", "composed and decomposed", "differs from", "\u00e4.py", "a\u0308.py"),
    _named("A10", "file, then folder", "also a file", "a", "a/b.py"),
    _named("A10", "folder, then file", "also a file", "a/b.py", "a"),
    _entry("A10", "empty folder and file", "also a file", Entry(b"a/", b""), Entry(b"a")),
    _named("A11", "newline", "a control character", "a\nb.py"),
    _named("A11", "NUL", "a control character", "a.py\0.txt"),
    _named("A11", "escape", "a control character", "\x1b[31ma.py"),
    _named("A11", "C1 control", "a control character", "a\u0085.py"),
    _named("A11", "text turned round", "a control character", "a\u202eyp.exe"),
    _entry("A11", "no UTF-8", "is no UTF-8", Entry(b"\xff\xfe.py")),
    _named("A11", "no name", "has no name", ""),
    _named("A11", "only dots", "has no name", "./."),
    _named("A11", "long path", "longer than 240 bytes", "d/" * 10 + "a" * 230),
    _named("A11", "deep path", "deeper than 20", "d/" * 20 + "a.py"),
    HostileZip("A12", "ratio", "times its size", bomb),
    HostileZip("A14", "65,000 entries", "more than 10000 entries", lambda: many(65_000)),
    _entry("A15", "same bytes under two names", "overlap", Entry(b"b.py", FINE.data, at=0)),
    _entry(
        *("A15", "an entry that holds another", "overlap"),
        Entry(b"outer.zip", build_zip([Entry(b"b.py")])[:35]),
        Entry(b"b.py", at=1, shift=39),
    ),
    _entry("A16", "size below", "It is damaged", Entry(b"a.py", b"x" * 99, DEFLATED, size=5)),
    _entry("A16", "size above", "another size than", Entry(b"a.py", b"x" * 99, DEFLATED, size=500)),
    _entry("A16", "stored size", "has two sizes", Entry(b"a.py", b"x" * 99, size=98)),
    _entry("A16", "other size in front", "in front of it", Entry(b"a.py", local_size=7)),
    _entry("A16", "other checksum in front", "in front of it", Entry(b"a.py", local_crc=7)),
    _entry("A16", "other name in front", "in front of it", Entry(b"a.py", local_name=b"b.py")),
    _entry("A16", "checksum", "It is damaged", Entry(b"a.py", crc=7)),
    _entry("A17", "no such field", "zip64", Entry(b"a.py", size=_ALL_ONES, local_size=1)),
    _entry(
        "A17",
        "field that says otherwise",
        "zip64 field that",
        Entry(b"a.py", local_extra=_ZIP64_EXTRA),
    ),
    _framed("A17", "count in the end record", "zip64", Frame(zip64_count=7)),
    _entry("A18", "encrypted", "is encrypted", Entry(b"a.py", flags=UTF8 | ENCRYPTED)),
    _entry("A18", "strong encryption", "is encrypted", Entry(b"a.py", flags=UTF8 | 0x41)),
    _entry("A19", "bzip2", "another method", Entry(b"a.py", method=BZIP2)),
    _entry("A19", "lzma", "another method", Entry(b"a.py", method=LZMA)),
    _entry("A19", "unknown method", "another method", Entry(b"a.py", method=99)),
    _framed("A20", "appended", "other data after its end", Frame(after=b"#!/bin/sh\nid\n")),
    _framed("A20", "prepended", "in front of its first", Frame(before=b"#!/bin/sh\nid\n")),
    _framed("A20", "prepended, not counted", "cut off", Frame(before=b"#!/bin/sh", start=0)),
    _framed("A20", "between", "followed by other data", Frame(gap=b"#!/bin/sh\nid\n")),
    _framed("A20", "two ends", "cut off", Frame(comment=b"PK\5\6" + bytes(18))),
    _framed("A20", "fewer entries told", "tells of 0", Frame(count=0)),
    _framed("A20", "more entries told", "tells of 2", Frame(count=2)),
    HostileZip("A20", "truncated", "Not a valid ZIP file", lambda: build_zip([FINE])[:-5]),
    HostileZip("A20", "no directory", "Not a valid ZIP file", lambda: build_zip([FINE])[:40]),
    HostileZip("A21", "no entry", "no file", lambda: build_zip([])),
    HostileZip("A21", "only folders", "no file", lambda: build_zip([Entry(b"a/", b"")])),
    HostileZip("A21", "no Python", "no Python file", lambda: build_zip([Entry(b"a.txt")])),
)


_T = TypeVar("_T")


def _rarely(strategy: st.SearchStrategy[_T], usual: st.SearchStrategy[_T]) -> st.SearchStrategy[_T]:
    """Return a strategy that draws from ``strategy`` once in ten times."""
    return st.integers(0, 9).flatmap(lambda number: strategy if number == 9 else usual)


_odd_parts = st.sampled_from(["..", ".", "", "C:", "\0", "\n"]) | st.text(max_size=8)
_parts = st.sampled_from(["a", "A", "b.py", "requirements.txt", "\u00e4", "a\u0308"])
_names = st.lists(_rarely(_odd_parts, _parts), min_size=1, max_size=22).flatmap(
    lambda parts: st.sampled_from(["/", "\\"]).map(lambda slash: slash.join(parts))
)
_raw_names = _names.map(lambda name: name.encode("utf-8", "replace"))
_lies = _rarely(st.sampled_from([0, 1, 99, 0xFFFF, 0x7FFFFFFF, _ALL_ONES]), st.none())
_extras = _rarely(
    st.sampled_from([_ZIP64_EXTRA, b"\1\0\xff\xff"]) | st.binary(max_size=12), st.just(b"")
)


def entries() -> st.SearchStrategy[Entry]:
    """Return a strategy of entries, mostly honest."""
    return st.builds(
        Entry,
        name=_rarely(st.binary(max_size=12), _raw_names),
        data=st.binary(max_size=60),
        method=_rarely(st.sampled_from([BZIP2, 99]), st.sampled_from([STORED, DEFLATED])),
        flags=_rarely(st.integers(0, 0xFFFF), st.sampled_from([0, UTF8])),
        mode=_rarely(st.sampled_from([_LINK, 0o10644]), st.sampled_from([0, stat.S_IFREG | 0o755])),
        size=_lies,
        compressed=_lies,
        crc=_lies,
        local_size=_lies,
        extra=_extras,
        local_extra=_extras,
        shift=_rarely(st.sampled_from([1, 40]), st.just(0)),
    )


_frames = st.builds(
    Frame,
    before=st.binary(max_size=8),
    gap=st.binary(max_size=8),
    after=st.binary(max_size=8),
    comment=st.binary(max_size=30),
    count=st.integers(0, 0xFFFF),
    zip64_count=st.none() | st.integers(0, 9),
)


@st.composite
def zips(draw: st.DrawFn) -> bytes:
    """Return a strategy of zips: built of any entries, then mostly left as they are."""
    frame = draw(_rarely(_frames, st.just(Frame())))
    content = bytearray(build_zip([FINE, *draw(st.lists(entries(), max_size=4))], frame))
    place = st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255))
    for index, value in draw(_rarely(st.lists(place, max_size=4), st.just([]))):
        content[index] = value
    end = draw(_rarely(st.integers(0, len(content)), st.just(len(content))))
    return bytes(content[:end])
