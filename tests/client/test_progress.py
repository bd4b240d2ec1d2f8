"""What is shown on a terminal and kept from everything else, each in a process of its own."""

import os
import pty
import subprocess
import sys

PROGRAM = """
from byop.client.progress import show_status, show_upload
with show_upload('echo', 4) as show:
    show(2)
    show(4)
with show_status('converting echo') as show:
    show('converting echo: [/] ready')
"""


def test_terminal_sees_bar_and_status() -> None:
    leader, follower = pty.openpty()
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            stderr=follower,
            stdout=subprocess.PIPE,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
        )
        os.close(follower)
        shown = read_all(leader)
        assert process.stdout is not None
        with process.stdout:
            assert process.stdout.read() == b""
        assert process.wait() == 0
    finally:
        os.close(leader)
    assert b"uploading echo" in shown
    assert b"4/4 bytes" in shown
    assert b"converting echo: [/] ready" in shown


def test_pipe_sees_nothing_even_with_forced_colours() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        check=True,
        env={**os.environ, "FORCE_COLOR": "1", "TERM": "xterm"},
    )
    assert (done.stdout, done.stderr) == (b"", b"")


def read_all(descriptor: int) -> bytes:
    """Return what is written until the other side closes, which Linux reports as an error."""
    shown = b""
    while True:
        try:
            block = os.read(descriptor, 65536)
        except OSError:
            return shown
        if not block:
            return shown
        shown += block
