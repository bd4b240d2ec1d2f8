"""kill -9 at random points of a mixed workload: nothing acknowledged is lost, nothing is half.

``KILL_SEED=<seed of a failed run>`` repeats its choices.
"""

import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.acceptance.durability import check_all, seconds_until_gone
from tests.acceptance.mixed_workload import Ledger, MixedWorkload, prepare
from tests.fakes.servers import RunningServer, kill_server, running_server, start_server

pytestmark = pytest.mark.registry

_ALL_ROWS_EVERY = 10
_ROLL_ROWS = 500
"""Rolls go on all the time: they wait for a calm moment for at most 16 times as many rows."""


def test_j01_three_kills_lose_nothing(tmp_path: Path, isolation: str) -> None:
    _kill_again_and_again(tmp_path, isolation, kills=3)


@pytest.mark.long
@pytest.mark.parametrize("half", ["first", "second"])  # so that both cores have one
def test_j01_fifty_kills_lose_nothing(tmp_path: Path, isolation: str, half: str) -> None:
    _kill_again_and_again(tmp_path / half, isolation, kills=25)


@pytest.mark.long
def test_j01_ten_kills_lose_nothing_without_bubblewrap(tmp_path: Path) -> None:
    _kill_again_and_again(tmp_path, "process", kills=10)


def _kill_again_and_again(folder: Path, isolation: str, *, kills: int) -> None:
    seed = os.environ.get("KILL_SEED") or str(time.time_ns())
    try:
        longest_s = _Run(folder, seed, isolation).run(kills)
    except BaseException as error:
        error.add_note(f"to repeat this run: KILL_SEED={seed}")
        raise
    sys.stdout.write(f"{kills} kills; no process outlived its server by {longest_s:.2f} s\n")


class _Run:
    """One data directory through many lives of its server."""

    def __init__(self, folder: Path, seed: str, isolation: str) -> None:
        self._folder = folder
        self._home = folder / "home"
        self._seed = seed
        self._rng = random.Random(seed)  # noqa: S311 - it must be repeatable
        self._environ = {"BYOP_ISOLATION": isolation, "BYOP_LOG_ROLL_ROWS": str(_ROLL_ROWS)}
        self._ledger = Ledger()
        self._longest_s = 0.0

    def run(self, kills: int) -> float:
        """Kill that often, check after each restart; return how long the last orphan lived."""
        with running_server(self._home, self._environ) as server:
            stage = prepare(server, self._ledger, self._folder)
        server = start_server(self._home, self._environ)
        try:
            for number in range(1, kills + 1):
                since = self._ledger.next_number
                workload = MixedWorkload(server, self._ledger, stage, f"{self._seed}/{number}")
                workload.run_until(
                    self._rng.randint(1, 60),
                    self._killing(server),
                    delay_s=self._rng.uniform(0, 0.1),
                )
                server = start_server(self._home, self._environ)
                is_full_check = number % _ALL_ROWS_EVERY == 0 or number == kills
                since = 1 if is_full_check else since
                check_all(server, self._ledger, stage, since=since)
        finally:
            kill_server(server.process)
        return self._longest_s

    def _killing(self, server: RunningServer) -> Callable[[], None]:
        def kill() -> None:
            process = psutil.Process(server.pid)
            process.send_signal(signal.SIGSTOP)  # so that it starts nothing while we look
            below = process.children(recursive=True)
            kill_server(server.process)
            self._longest_s = max(self._longest_s, seconds_until_gone(below))

        return kill
