"""Gives inputs to a parser in another process and counts what becomes of them."""

import json
import selectors
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[2]
_HANGS_S = 30.0
_ROUND = 500


class FindingError(AssertionError):
    """A parser died, hung, or raised what is no error of ours."""


@dataclass
class ParserProcess:
    """One parser of ``tests.fuzz.parsers``, started again when it dies."""

    name: str
    outcomes: Counter[str] = field(default_factory=Counter)
    _process: subprocess.Popen[bytes] | None = None

    def feed(self, data: bytes) -> str:
        """Return what became of the input; the input is in the message of what is raised."""
        process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(struct.pack("<I", len(data)) + data)
            process.stdin.flush()
            with selectors.DefaultSelector() as selector:
                selector.register(process.stdout, selectors.EVENT_READ)
                is_answered = bool(selector.select(_HANGS_S))
        except BrokenPipeError:
            is_answered = True
        line = process.stdout.readline() if is_answered else b""
        if not line:
            if is_answered:
                process.wait(_HANGS_S)
            code = self.stop()
            what = f"ended with {code}" if is_answered else f"gave no answer in {_HANGS_S:g} s"
            raise FindingError(f"{self.name} {what} on {data.hex()}")
        told: str = json.loads(line)
        self.outcomes[told.partition("\n")[0]] += 1
        if told.startswith("broken"):
            raise FindingError(f"{self.name}: {told}\non {data.hex()}")
        return told

    def stop(self) -> int:
        """End the process and return its exit status."""
        process, self._process = self._process, None
        if process is None:
            return 0
        assert process.stdin is not None
        assert process.stdout is not None
        code = process.poll()
        if code is None:
            process.kill()
            code = process.wait()
        process.stdout.close()
        with suppress(BrokenPipeError):
            process.stdin.close()
        return code

    def _start(self) -> subprocess.Popen[bytes]:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fuzz.parsers", self.name],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        return self._process


def fuzz(
    parser: ParserProcess, inputs: st.SearchStrategy[bytes], *, examples: int, seconds: float
) -> None:
    """Feed ``examples`` inputs, or for so many seconds when that is more than nothing."""
    ends = time.monotonic() + seconds
    started = int(time.time())
    _round(parser.feed, inputs, examples if not seconds else _ROUND, started)
    while time.monotonic() < ends:
        started += 1
        _round(parser.feed, inputs, _ROUND, started)


def _round(
    feed: Callable[[bytes], str], inputs: st.SearchStrategy[bytes], examples: int, start: int
) -> None:
    @seed(start)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(inputs)
    def check(data: bytes) -> None:
        feed(data)

    check()
