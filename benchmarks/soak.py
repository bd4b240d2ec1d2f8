"""A soak: everything at once at a rate that loads both cores, memory and descriptors watched.

Usage: ``python -m benchmarks.soak [--minutes 10] [--warm-up-s 60] [--home DIR]``. Ends with 1 when
the resident memory of the server or of a worker grows by 1 MiB per minute or more, when descriptors
grow, or when a request is answered in a way that was not expected.
"""

import argparse
import asyncio
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import numpy as np
import psutil
import uvloop

from benchmarks.http_inference import (
    ARROW_TYPE,
    JSON_TYPE,
    QUERY,
    bodies,
    byop_server,
    deploy,
)
from benchmarks.load import Request
from benchmarks.soak_changes import Changes

_SLOPE_LIMIT = 1.0
"""MiB per minute."""
_LEAST_GROWTH = 8.0
"""MiB: below it a slope over a short time is the noise of allocators."""
_DESCRIPTOR_SLACK = 3
_WINDOWS = 12
_SAMPLE_EVERY_S = 0.5
_LARGE_ROWS = 1_000
_LARGE_EVERY_S = 0.05
_FAILING_EVERY_S = 0.1


@dataclass(frozen=True, slots=True)
class Kind:
    """Requests of one sort: sent one after the other on each of ``connections``."""

    name: str
    request: bytes
    status: int
    connections: int
    pause_s: float = 0.0


@dataclass
class Tally:
    """What was answered."""

    latencies_s: dict[str, list[float]] = field(default_factory=dict)
    unexpected: Counter[str] = field(default_factory=Counter)
    began_s: float = 0.0

    def restart(self) -> None:
        """Forget the latencies so far; errors count from the first request on."""
        self.latencies_s.clear()
        self.began_s = time.monotonic()


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at the processes: MiB and descriptors by process id."""

    at_s: float
    rss: dict[int, float]
    descriptors: dict[int, int]


class Watcher:
    """Samples a server and the workers below it, in a thread of its own."""

    def __init__(self, pid: int) -> None:
        self._server = psutil.Process(pid)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.samples: list[Sample] = []

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._is_over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._is_over.wait(_SAMPLE_EVERY_S):
            rss, descriptors = {}, {}
            for process in [self._server, *self._server.children(recursive=True)]:
                try:
                    rss[process.pid] = process.memory_info().rss / 2**20
                    descriptors[process.pid] = process.num_fds()
                except psutil.Error:
                    rss.pop(process.pid, None)  # it ended while we looked
            self.samples.append(Sample(time.monotonic(), rss, descriptors))


async def send(kind: Kind, host: str, port: int, until_s: float, tally: Tally) -> None:
    """Send one connection's requests."""
    reader, writer = await asyncio.open_connection(host, port)
    while (began := time.monotonic()) < until_s:
        writer.write(kind.request)
        status = await _status(reader)
        tally.latencies_s.setdefault(kind.name, []).append(time.monotonic() - began)
        if status != kind.status:
            tally.unexpected[f"{kind.name}: {status}"] += 1
        if kind.pause_s:
            await asyncio.sleep(max(0.0, began + kind.pause_s - time.monotonic()))
    writer.close()


async def _status(reader: asyncio.StreamReader) -> int:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
    await reader.readexactly(length)
    return int(head[9:12])


def kinds(url: str, authorization: str) -> list[Kind]:
    """Return the mix: small and large, JSON and Arrow, and requests that must fail."""
    target = urlsplit(url)
    host, port = str(target.hostname), cast("int", target.port)

    def make(kind: str, body: bytes) -> bytes:
        headers = {"Content-Type": kind, "Authorization": authorization}
        return Request(host, port, target.path + QUERY, headers, body).encode()

    small, large = bodies(1), bodies(_LARGE_ROWS)
    return [
        Kind("small json", make(JSON_TYPE, small[JSON_TYPE]), 200, 6),
        Kind("small arrow", make(ARROW_TYPE, small[ARROW_TYPE]), 200, 4),
        Kind("large json", make(JSON_TYPE, large[JSON_TYPE]), 200, 1, _LARGE_EVERY_S),
        Kind("large arrow", make(ARROW_TYPE, large[ARROW_TYPE]), 200, 1, _LARGE_EVERY_S),
        Kind("broken json", make(JSON_TYPE, b"[{"), 400, 1, _FAILING_EVERY_S),
        Kind("no column", make(JSON_TYPE, b'[{"other": 1}]'), 400, 1, _FAILING_EVERY_S),
        Kind("ragged", make(JSON_TYPE, b'[{"tensor": [1.0, 2.0]}]'), 500, 1, _FAILING_EVERY_S),
    ]


async def load(
    mix: Sequence[Kind], url: str, *, warm_up_s: float, seconds: float, tally: Tally
) -> None:
    """Send the whole mix."""
    target = urlsplit(url)
    until_s = time.monotonic() + warm_up_s + seconds
    asyncio.get_running_loop().call_later(warm_up_s, tally.restart)
    await asyncio.gather(
        *(
            send(kind, str(target.hostname), cast("int", target.port), until_s, tally)
            for kind in mix
            for _ in range(kind.connections)
        )
    )


def slope_per_minute(samples: Sequence[Sample], pid: int) -> float:
    """Return the least-squares slope of a process's memory, MiB per minute.

    It goes through the lowest sample of each of some windows: a roll of the log takes 12 MiB for a
    moment, a leak raises what is left afterwards.
    """
    windows = np.array_split(np.array([(s.at_s / 60, s.rss[pid]) for s in samples]), _WINDOWS)
    lowest = np.array([window[window[:, 1].argmin()] for window in windows if len(window)])
    return float(np.polyfit(lowest[:, 0] - lowest[0, 0], lowest[:, 1], 1)[0])


def judge(samples: Sequence[Sample], server: int) -> list[str]:
    """Print how every process that lived throughout developed; return what is wrong."""
    wrong = []
    minutes = (samples[-1].at_s - samples[0].at_s) / 60
    lived = set.intersection(*(sample.rss.keys() & sample.descriptors.keys() for sample in samples))
    third = max(1, len(samples) // 3)
    for pid in sorted(lived, key=lambda pid: pid != server):
        slope = slope_per_minute(samples, pid)
        first, last = (
            min(sample.descriptors[pid] for sample in part)
            for part in (samples[:third], samples[-third:])
        )
        name = "server" if pid == server else f"worker {pid}"
        print(
            f"{name}: RSS {samples[0].rss[pid]:.1f} to {samples[-1].rss[pid]:.1f} MiB, "
            f"{slope:+.2f} MiB/min; descriptors {first} to {last}"
        )
        if slope >= _SLOPE_LIMIT and slope * minutes >= _LEAST_GROWTH:
            wrong.append(f"the memory of {name} grows")
        if last > first + _DESCRIPTOR_SLACK:
            wrong.append(f"the descriptors of {name} grow")
    return wrong


def report(tally: Tally) -> None:
    """Print rates and latencies."""
    took_s = time.monotonic() - tally.began_s
    for name, latencies in tally.latencies_s.items():
        p50, p99 = (1000 * float(value) for value in np.percentile(latencies, [50, 99]))
        rate = len(latencies) / took_s
        print(f"{name:12} {rate:8.1f}/s  p50 {p50:7.2f} ms  p99 {p99:7.2f} ms")
    print(f"unexpected answers: {dict(tally.unexpected) or 'none'}")


def soak(home: Path, *, warm_up_s: float, seconds: float) -> list[str]:
    """Run the soak; return what is wrong."""
    tally = Tally()
    with byop_server(home) as (address, process, _):
        url, authorization = deploy(address, home, home.parent)
        changes = Changes(address, home)
        watcher = Watcher(process.pid)
        mix = kinds(url, authorization)
        try:
            changes.start()
            threading.Timer(warm_up_s, watcher.start).start()
            uvloop.run(load(mix, url, warm_up_s=warm_up_s, seconds=seconds, tally=tally))
        finally:
            watcher.stop()
            changes.stop()
        report(tally)
        print(f"changes: {dict(changes.done)}")
        wrong = judge(watcher.samples, process.pid)
    wrong += [f"{count} unexpected answers, {what}" for what, count in tally.unexpected.items()]
    return wrong + changes.failures


def main() -> None:
    """Read the arguments, run, exit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--warm-up-s", type=float, default=60.0)
    parser.add_argument("--home", type=Path, help="data directory; a temporary one by default")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        home = given.home or Path(scratch) / "home"
        wrong = soak(home, warm_up_s=given.warm_up_s, seconds=60 * given.minutes)
    for line in wrong:
        print(f"wrong: {line}")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
