"""Servers that run out of room: their data directory on a small disk, their files limited."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tests.fakes.servers import RunningServer, kill_server, start_server

_MOUNT = 'mount -t tmpfs -o "size=$1,mode=700" tmpfs "$2" && shift 2 && exec "$@"'
_LIMIT = 'ulimit -f "$1" && shift && exec "$@"'
_BLOCK_BYTES = 512
"""The unit of ``ulimit -f`` in sh."""


def why_no_small_disk() -> str | None:
    """Return why this machine lets us mount none, None when it does."""
    if shutil.which("unshare") is None:
        return "there is no unshare"
    trial = ["unshare", "-m", "sh", "-c", "mount -t tmpfs -o size=64k tmpfs /mnt"]
    done = subprocess.run(trial, capture_output=True, text=True, timeout=30, check=False)
    return None if done.returncode == 0 else f"unshare -m: {done.stderr.strip()}"


@contextmanager
def server_on_small_disk(
    home: Path, size: str, extra: Mapping[str, str]
) -> Iterator[RunningServer]:
    """Give a server whose home is a tmpfs that only it sees; we see it through /proc."""
    home.mkdir(parents=True)
    wrapper = ["unshare", "-m", "sh", "-c", _MOUNT, "sh", size, str(home)]
    server = start_server(home, extra, wrapper=wrapper)
    try:
        yield replace(server, home=Path(f"/proc/{server.pid}/root{home}"))
    finally:
        kill_server(server.process)


@contextmanager
def server_with_small_files(
    home: Path, limit_bytes: int, extra: Mapping[str, str]
) -> Iterator[RunningServer]:
    """Give a server that may write no file beyond the limit."""
    wrapper = ["sh", "-c", _LIMIT, "sh", str(limit_bytes // _BLOCK_BYTES)]
    server = start_server(home, extra, wrapper=wrapper)
    try:
        yield server
    finally:
        kill_server(server.process)


def fill(disk: Path) -> Path:
    """Use up what is free; return the file to remove for room."""
    filler = disk / "filler"
    block = bytes(1 << 16)
    descriptor = os.open(filler, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        while True:
            os.write(descriptor, block)
    except OSError:
        return filler
    finally:
        os.close(descriptor)
