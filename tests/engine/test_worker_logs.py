import fcntl
import os
import re
import stat
import struct
import termios
import threading
import time
from pathlib import Path

from byop.engine.masking import Masker
from byop.engine.worker_logs import (
    BURST_BYTES,
    RING_LINES,
    LogDrain,
    LogFile,
    LogRing,
)

PATIENCE_S = 30.0


def drained(tmp_path: Path, *chunks: bytes, value: str = "topsecret") -> tuple[LogRing, Path]:
    """Write the chunks as a worker would, and return what is kept of them."""
    reader, writer = os.pipe()
    ring, path = LogRing(), tmp_path / "logs" / "shop-7" / "model-0.log"
    drain = LogDrain(reader, masker=Masker({"K": value}), ring=ring, file=LogFile(path))
    drain.start()
    for chunk in chunks:
        os.write(writer, chunk)
        wait_until_read(writer)
    os.close(writer)
    drain.join(PATIENCE_S)
    return ring, path


def wait_until_read(pipe: int) -> None:
    """Wait until nothing is in the pipe, so that what is written next is another read."""
    deadline = time.monotonic() + PATIENCE_S
    while struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)))[0]:
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_lines_go_to_ring_and_file(tmp_path: Path) -> None:
    ring, path = drained(tmp_path, b"one\ntw", b"o\r\nthree")
    assert ring.tail(10) == ["one", "two", "three"]
    assert ring.tail(2) == ["two", "three"]
    assert ring.tail(0) == []
    assert path.read_text() == "one\ntwo\nthree\n"


def test_file_is_for_the_owner_only(tmp_path: Path) -> None:
    _, path = drained(tmp_path, b"x\n")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_values_are_masked_even_when_cut_between_reads(tmp_path: Path) -> None:
    ring, path = drained(tmp_path, b"key=top", b"secret;\n")
    assert ring.tail(1) == ["key=***;"]
    assert "topsecret" not in path.read_text()


def test_value_cut_inside_a_character_is_masked(tmp_path: Path) -> None:
    raw = "für-alle-geheim\n".encode()
    ring, _ = drained(tmp_path, raw[:2], raw[2:], value=raw.decode().strip())
    assert ring.tail(1) == ["***"]


def test_value_in_an_endless_line_is_masked(tmp_path: Path) -> None:
    secret = "s" * 20 + "END"
    for shift in range(0, 40, 3):
        line = b"." * (16 * 1024 + shift) + secret.encode()
        chunks = [line[:16_390], line[16_390:], b"." * 20_000, b"\n"]
        ring, _ = drained(tmp_path, *chunks, value=secret)
        assert "sssss" not in "".join(ring.tail(100)).replace("***", "")


def test_flood_is_bounded_and_never_blocks_the_writer(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    ring = LogRing()
    path = tmp_path / "model.log"
    file = LogFile(path, limit_bytes=100_000)
    drain = LogDrain(reader, masker=Masker({}), ring=ring, file=file)
    drain.start()

    def flood() -> None:
        for _ in range(500):
            os.write(writer, b"0123456789\n" * 1000)
        os.close(writer)

    writing = threading.Thread(target=flood)
    writing.start()
    writing.join(PATIENCE_S)
    drain.join(PATIENCE_S)
    assert not writing.is_alive()
    assert len(ring.tail(10**6)) == RING_LINES
    kept = [p.stat().st_size for p in tmp_path.glob("model.log*")]
    assert len(kept) <= 2
    assert sum(kept) < 500_000


def test_what_comes_too_fast_is_dropped_by_whole_lines_and_counted(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    now_s = [0.0]
    drain = LogDrain(
        reader,
        masker=Masker({"K": "topsecret"}),
        ring=LogRing(),
        file=LogFile(tmp_path / "model.log"),
        clock_s=lambda: now_s[0],
    )
    drain.start()
    line = b"0123456789 topsecret\n"
    written = 0
    with os.fdopen(writer, "wb", buffering=0) as sink:
        while written < 2 * BURST_BYTES:
            written += sink.write(line * 1000)
        now_s[0] = 3.0
        for _ in range(2000):
            written += sink.write(line)
    drain.join(PATIENCE_S)
    lines = "".join(p.read_text() for p in tmp_path.glob("model.log*")).splitlines()
    notices = [text for text in lines if "dropped" in text]
    assert {text for text in lines if "dropped" not in text} == {"0123456789 ***"}
    assert notices
    kept = (len(lines) - len(notices)) * len(line)
    assert kept + sum(int(n) for n in re.findall(r"(\d+) bytes", "".join(notices))) <= written
    assert kept < written / 1.5


def test_bytes_that_are_no_text_are_replaced(tmp_path: Path) -> None:
    ring, _ = drained(tmp_path, b"\xff\xfe ok\n")
    assert ring.tail(1) == ["\ufffd\ufffd ok"]
