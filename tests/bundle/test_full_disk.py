"""A disk of 1 MiB that is full: nothing is left of what did not fit, and room heals it."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.attacks.small_disks import why_no_small_disk

pytestmark = pytest.mark.skipif(bool(why_no_small_disk()), reason=str(why_no_small_disk()))

_MOUNT = 'mount -t tmpfs -o size=1m tmpfs "$1" && exec "$2" -c "$3" "$1"'
_UNPACK = """
import os, sys, zipfile
from pathlib import Path
from byop.bundle.archive import unpack
from byop.errors import StorageFullError
disk = Path(sys.argv[1])
for size in (2 << 20, 1000):
    archive = disk.with_name("a.zip")
    with zipfile.ZipFile(archive, "w") as target:
        target.writestr("small.py", "")
        target.writestr("weights.bin", os.urandom(size))
    try:
        unpack(archive, disk / "models" / "m")
    except StorageFullError as error:
        print(type(error).__name__)
    print(sorted(path.name for path in disk.rglob("*")))
"""
_STORE = """
import sys
from pathlib import Path
from byop.errors import StorageFullError
from byop.store.blobs import FileBlobStore
disk = Path(sys.argv[1])
store = FileBlobStore(disk)
for size in (2 << 20, 1000):
    incoming = store.begin(limit_bytes=1 << 30)
    try:
        incoming.write(bytes(size))
        incoming.commit()
    except StorageFullError as error:
        print(type(error).__name__)
    incoming.discard()
    print(sorted(path.stat().st_size for path in disk.rglob("*") if path.is_file()))
"""


def _run(tmp_path: Path, script: str) -> list[str]:
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["sh", "-c", _MOUNT, "sh", str(disk), sys.executable, script]
    done = subprocess.run(
        ["unshare", "-m", *command],  # noqa: S607 - found on the path when it is here at all
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def test_unpacking_that_finds_no_room_leaves_nothing(tmp_path: Path) -> None:
    assert _run(tmp_path, _UNPACK) == [
        "StorageFullError",
        "['models']",
        "['m', 'models', 'small.py', 'weights.bin']",
    ]


def test_storing_that_finds_no_room_leaves_nothing(tmp_path: Path) -> None:
    assert _run(tmp_path, _STORE) == ["StorageFullError", "[]", "[1000]"]
