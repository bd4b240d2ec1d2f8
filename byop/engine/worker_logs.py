"""What workers print: drained by a thread, masked, kept in a bounded ring and a bounded file."""

import codecs
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from byop.engine.masking import Masker

RING_LINES = 2000
FILE_BYTES = 10 * 1024**2
"""A log file that grows over this is kept once as ``.1`` and begun anew."""
_CHUNK_BYTES = 64 * 1024
_LINE_CHARS = 16 * 1024
BURST_BYTES = 8 * 1024**2
_BYTES_PER_S = 1024**2
"""What is kept of a worker that prints without end. Masking all of it would keep a core busy."""


class LogRing:
    """The last lines of one model's workers. Safe from any thread."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=RING_LINES)

    def append(self, line: str) -> None:
        """Add a line; the oldest goes when the ring is full."""
        self._lines.append(line)

    def tail(self, lines: int) -> list[str]:
        """Return the last ``lines`` lines, oldest first."""
        found = list(self._lines.copy())
        return found[-lines:] if lines > 0 else []


class LogFile:
    """One replica's log on disk, readable by the owner only."""

    def __init__(self, path: Path, *, limit_bytes: int = FILE_BYTES) -> None:
        self._path = path
        self._limit_bytes = limit_bytes

    def write(self, text: str) -> None:
        """Append the text. A disk that refuses loses it: the ring still has the lines."""
        raw = text.encode("utf-8", "replace")
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
            descriptor = os.open(self._path, flags, 0o600)
            try:
                size = os.fstat(descriptor).st_size
                os.write(descriptor, raw)
            finally:
                os.close(descriptor)
            if size + len(raw) > self._limit_bytes:
                self._path.replace(self._path.with_name(f"{self._path.name}.1"))
        except OSError:
            return


class _Allowance:
    """How many bytes may be kept now: a burst, refilled as time goes by."""

    def __init__(self, clock_s: Callable[[], float]) -> None:
        self._clock_s = clock_s
        self._left = float(BURST_BYTES)
        self._at_s = clock_s()
        self._is_spent = False

    def take(self, size_bytes: int) -> bool:
        """Return whether these bytes may be kept. Once spent, it is for about a second."""
        now_s = self._clock_s()
        self._left = min(BURST_BYTES, self._left + (now_s - self._at_s) * _BYTES_PER_S)
        self._at_s = now_s
        if self._left < (_BYTES_PER_S if self._is_spent else size_bytes):
            self._is_spent = True
            return False
        self._is_spent = False
        self._left -= size_bytes
        return True


class LogDrain:
    """Reads one worker's output until its end, never letting the worker wait.

    Of a flood whole lines are dropped: one line says so, and one afterwards how many bytes.
    """

    def __init__(
        self,
        descriptor: int,
        *,
        masker: Masker,
        ring: LogRing,
        file: LogFile,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._descriptor = descriptor
        self._masker = masker
        self._ring = ring
        self._file = file
        self._allowance = _Allowance(clock_s)
        self._dropped_bytes = 0
        self._thread = threading.Thread(target=self._run, name="worker-log", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def join(self, timeout_s: float) -> None:
        """Wait until all output is read; a process that outlives the worker may hold it open."""
        self._thread.join(timeout_s)

    def _run(self) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")  # reads cut characters in two
        rest = ""
        while chunk := self._read():
            if not self._allowance.take(len(chunk)):
                if not self._dropped_bytes:
                    self._keep(["[byop: the model prints too much at once: output is dropped]"])
                self._dropped_bytes += len(chunk) + len(rest.encode("utf-8", "replace"))
                rest = ""
                decoder.reset()
                continue
            text = decoder.decode(chunk)
            if self._dropped_bytes:
                text = self._without_half_a_line(text)
            *lines, rest = (rest + text).split("\n")
            if len(rest) > _LINE_CHARS + self._masker.longest:
                head, rest = self._cut(rest)
                lines.append(head)
            self._keep(lines)
        rest += decoder.decode(b"", final=True)
        self._keep([rest] if rest else [])
        self._tell_dropped()
        os.close(self._descriptor)

    def _read(self) -> bytes:
        try:
            return os.read(self._descriptor, _CHUNK_BYTES)
        except OSError:
            return b""

    def _without_half_a_line(self, text: str) -> str:
        """Return what follows the end of a line that was dropped in part, with any value in it."""
        half, end, whole = text.partition("\n")
        self._dropped_bytes += len(half.encode("utf-8", "replace"))
        if end:
            self._tell_dropped()
        return whole

    def _tell_dropped(self) -> None:
        if self._dropped_bytes:
            self._keep([f"[byop: {self._dropped_bytes} bytes of output were dropped]"])
            self._dropped_bytes = 0

    def _cut(self, line: str) -> tuple[str, str]:
        """Split an endless line so that no value is cut in two: its end stays for the next."""
        masked = self._masker.mask(line)
        at = max(len(masked) - self._masker.longest, 0)
        return masked[:at], masked[at:]

    def _keep(self, lines: list[str]) -> None:
        if not lines:
            return
        masked = [self._masker.mask(line.rstrip("\r"))[: 2 * _LINE_CHARS] for line in lines]
        for line in masked:
            self._ring.append(line)
        self._file.write("\n".join(masked) + "\n")
