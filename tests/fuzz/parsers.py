"""Runs one parser on the inputs that come in on standard input, in a process that may die.

``python -m tests.fuzz.parsers NAME``. An input is 4 bytes of length and the bytes; the answer is a
line of JSON: ``accepted``, ``refused <error>``, or ``broken`` and a traceback.
"""

import json
import resource
import struct
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import pyarrow as pa

from byop.bundle.archive import unpack
from byop.bundle.archive_limits import ArchiveLimits
from byop.bundle.sealed_folders import remove_folder
from byop.bundle.validation import validate_archive
from byop.domain.models import Framework
from byop.engine.frames import FrameKind, FrameReader
from byop.errors import ByopError
from byop.json_text import read_json
from byop.tables.columns import conform
from byop.tables.ipc import TableLimits, read_file, read_stream, write_file, write_stream
from byop.tables.records import decode_records, encode_records
from byop.tables.schemas import schema_from_base64

MEMORY_BYTES = 256 << 20
"""What a parser may take beyond what it has at its start: far more than any limit allows it."""

_ADDRESS_BYTES = 16 << 30
"""Allocators reserve much more than they use; beyond this an input would take the machine down."""

LIMITS = TableLimits(decoded_bytes=16 << 20, columns=100)
ZIP_LIMITS = ArchiveLimits(total_bytes=4 << 20, entries=100)
SCHEMA = pa.schema(
    [
        pa.field("text", pa.string()),
        pa.field("id", pa.int64(), nullable=False),
        pa.field("tensor", pa.list_(pa.float32(), 2)),
        pa.field("nested", pa.struct([("at", pa.timestamp("ms")), ("raw", pa.binary())])),
    ]
)


def parse_arrow(data: bytes) -> None:
    batch = read_file(data, LIMITS)
    batch.validate(full=True)
    assert batch.nbytes <= LIMITS.decoded_bytes
    encode_records(batch)
    read_file(write_file(batch), LIMITS)
    read_stream(write_stream(batch))
    with suppress(ByopError):
        conform(batch, SCHEMA)


def parse_json(data: bytes) -> None:
    for parse in (
        lambda: write_stream(decode_records(data, None)),
        lambda: schema_from_base64(data.decode("latin-1")),
        lambda: read_json(data),
    ):
        with suppress(ByopError):
            parse()
    encode_records(decode_records(data, SCHEMA))


def parse_zip(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        outer = Path(name)
        archive, folder = outer / "model.zip", outer / "model"
        archive.write_bytes(data)
        try:
            unpack(archive, folder, ZIP_LIMITS)
            validate_archive(archive, Framework.CUSTOM, ZIP_LIMITS)
        finally:
            assert {path.name for path in outer.iterdir()} <= {"model.zip", "model"}
            assert not any(path.is_symlink() for path in outer.rglob("*"))
            if folder.exists():
                remove_folder(folder)


def parse_frames(data: bytes) -> None:
    """Read frames in pieces of as many bytes as the first one says."""
    reader = FrameReader(max_payload_bytes=1 << 20)
    rest, step = memoryview(data)[1:], 1 + 37 * (data[0] if data else 0)
    while rest:
        space = reader.space()
        count = min(step, len(space), len(rest))
        space[:count] = rest[:count]
        rest = rest[count:]
        for frame in reader.received(count):
            if frame.kind is FrameKind.RESULT:
                read_stream(frame.payload, LIMITS)


PARSERS: Mapping[str, Callable[[bytes], None]] = {
    "arrow": parse_arrow,
    "json": parse_json,
    "zip": parse_zip,
    "frames": parse_frames,
}


def main(name: str) -> None:
    parse = PARSERS[name]
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_BYTES, _ADDRESS_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    limit = _peak_bytes() + MEMORY_BYTES
    while head := sys.stdin.buffer.read(4):
        data = sys.stdin.buffer.read(struct.unpack("<I", head)[0])
        try:
            parse(data)
            told = "accepted"
        except ByopError as error:
            told = f"refused {error.code}"
        except BaseException:  # noqa: BLE001 - the finding
            told = f"broken {traceback.format_exc()}"
        if _peak_bytes() > limit:
            told = f"broken {_peak_bytes()} bytes were taken"
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main(sys.argv[1])
