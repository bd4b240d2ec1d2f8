"""Models that crash: each fails the requests in its hands, says why, and starts again."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from textwrap import dedent

import pytest

from byop.domain.deployments import RunStatus
from byop.engine.replica import RestartPolicy
from byop.errors import ModelCrashedError, ModelNotRunningError
from tests.attacks.engines import (
    FAST,
    NEIGHBOUR,
    opened_bench,
    replica_of,
    run_beside_a_neighbour,
    status_of,
)
from tests.engine.conftest import DOUBLE, Bench, Models, deployment, until

CRASHING = """
    import ctypes, os, signal
    ENDS = {
        1: lambda: os._exit(7),
        2: lambda: ctypes.string_at(0),
        3: lambda: os.kill(os.getpid(), signal.SIGKILL),
    }

    def process_data(input_data):
        end = ENDS.get(int(input_data["x"][0]))
        if end is not None:
            end()
        return {"y": input_data["x"]}
"""


@pytest.fixture
def models(tmp_path: Path) -> Models:
    return Models(tmp_path / "models")


@pytest.fixture
async def bench(tmp_path: Path, isolation: str) -> AsyncIterator[Bench]:
    async with opened_bench(tmp_path, isolation) as bench:
        yield bench


def is_up_again(bench: Bench, restarts: int) -> bool:
    replica = status_of(bench)
    return replica.restarts == restarts and replica.status is not RunStatus.STARTING


async def crash_once(bench: Bench, models: Models, kind: float, told: str) -> None:
    await run_beside_a_neighbour(bench, models, models.step(CRASHING))
    hit, beside = await asyncio.gather(
        bench.predict(kind), bench.predict(4.0, version=NEIGHBOUR), return_exceptions=True
    )
    assert isinstance(hit, ModelCrashedError)
    assert told in str(hit)
    assert beside == [8.0]
    assert await bench.predict(0.5) == [0.5]
    replica = status_of(bench)
    assert (replica.status, replica.reason, replica.restarts) == (RunStatus.RUNNING, None, 1)
    assert told in str(replica.last_end)


async def test_h01_exit_in_a_request_fails_that_request_only(bench: Bench, models: Models) -> None:
    await crash_once(bench, models, 1, "exited with code 7")


async def test_h02_segmentation_fault_fails_that_request_only(bench: Bench, models: Models) -> None:
    await crash_once(bench, models, 2, "SIGSEGV")


async def test_h03_sigkill_fails_that_request_only(bench: Bench, models: Models) -> None:
    await crash_once(bench, models, 3, "SIGKILL")


async def test_h03_requests_that_wait_go_to_the_next_worker(bench: Bench, models: Models) -> None:
    await bench.run(models.step(CRASHING))
    answers = await asyncio.gather(
        *(bench.predict(x) for x in (3.0, 5.0, 6.0, 7.0)), return_exceptions=True
    )
    assert isinstance(answers[0], ModelCrashedError)
    assert answers[1:] == [[5.0], [6.0], [7.0]]


def test_h04_delays_double_from_half_a_second_to_thirty() -> None:
    policy = RestartPolicy()
    after_crashes = [policy.delay_s(failures, was_ready=True) for failures in range(1, 10)]
    after_loads = [policy.delay_s(failures, was_ready=False) for failures in range(1, 9)]
    assert after_crashes == [0, 0.5, 1, 2, 4, 8, 16, 30, 30]
    assert after_loads == [0.5, 1, 2, 4, 8, 16, 30, 30]


async def test_h04_workers_that_crash_start_later_each_time(
    tmp_path: Path, models: Models, isolation: str
) -> None:
    policy = RestartPolicy(first_delay_s=0.2, longest_delay_s=0.4, exit_s=0.5)
    async with opened_bench(tmp_path, isolation, policy=policy) as bench:
        model = models.step(
            """
            import os, threading, time
            print("start", time.monotonic(), flush=True)
            threading.Timer(0.01, os._exit, [4]).start()

            def process_data(input_data):
                return {"y": input_data["x"]}
            """
        )
        bench.engine.start(deployment(model))

        def starts() -> list[float]:
            lines = [line.split() for line in bench.logs()]
            return [float(words[1]) for words in lines if words[0] == "start"]

        await until(lambda: len(starts()) >= 5)
        gaps = [later - earlier for earlier, later in pairwise(starts())]
        for gap, delay in zip(gaps, (0, 0.2, 0.4, 0.4), strict=False):
            assert gap >= delay


async def test_h05_requests_that_crash_in_a_loop_end_in_error_though_others_succeed(
    bench: Bench, models: Models
) -> None:
    await bench.run(models.step(CRASHING))
    for number in range(5):
        await bench.until(RunStatus.RUNNING)
        assert await bench.predict(number + 10.0) == [number + 10.0]
        with pytest.raises(ModelCrashedError):
            await bench.predict(1)
    told = await bench.until(RunStatus.ERROR)
    reason = "the worker process exited with code 7 (a crash loop: 5 ends in 60 s)"
    assert replica_of(told).reason == reason
    assert told.details == (f"model1-0: {reason}",)


async def test_h05_loop_is_error_while_its_worker_answers_and_a_deploy_ends_it(
    bench: Bench, models: Models
) -> None:
    await bench.run(models.step(CRASHING))
    for _ in range(5):
        await bench.until(RunStatus.RUNNING)
        with pytest.raises(ModelCrashedError):
            await bench.predict(1)
    await bench.until(RunStatus.ERROR)
    answered: list[float] = []
    while not answered:
        try:
            answered = await bench.predict(8.0)
        except ModelNotRunningError as error:
            assert "exited with code 7" in str(error)  # noqa: PT017 - until it is up again
            await asyncio.sleep(0.01)
    assert answered == [8.0]
    assert status_of(bench).status is RunStatus.ERROR
    await bench.run(models.step(CRASHING))
    assert await bench.predict(9.0) == [9.0]


async def test_h05_loop_ends_when_a_worker_stays_up(
    tmp_path: Path, models: Models, isolation: str
) -> None:
    policy = RestartPolicy(first_delay_s=0.05, longest_delay_s=0.1, stable_s=1.0, exit_s=0.5)
    async with opened_bench(tmp_path, isolation, policy=policy) as bench:
        model = models.step(
            """
            import os, threading
            threading.Timer(0.01, os._exit, [4]).start()

            def process_data(input_data):
                return {"y": input_data["x"]}
            """
        )
        bench.engine.start(deployment(model))
        await bench.until(RunStatus.ERROR)
        model.path.write_text(dedent(DOUBLE))
        await bench.until(RunStatus.RUNNING)
        assert status_of(bench).reason is None
        assert await bench.predict(1.0) == [2.0]


async def test_h05_ends_far_apart_are_no_loop(
    tmp_path: Path, models: Models, isolation: str
) -> None:
    policy = replace(FAST, loop_s=0.0)
    async with opened_bench(tmp_path, isolation, policy=policy) as bench:
        await bench.run(models.step(CRASHING))
        for restarts in range(1, 8):
            with pytest.raises(ModelCrashedError):
                await bench.predict(1)
            await until(partial(is_up_again, bench, restarts))
            assert status_of(bench).status is RunStatus.RUNNING
