"""Models that hang: the request fails at its deadline, and its worker is replaced."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from byop.domain.deployments import RunStatus
from byop.errors import ModelTimeoutError
from tests.attacks.engines import (
    FAST,
    NEIGHBOUR,
    opened_bench,
    run_beside_a_neighbour,
    status_of,
    until_ended_with,
)
from tests.engine.conftest import Bench, Models, deployment

DEADLINE_S = 0.5
HANGING = """
    import ctypes, threading, time

    def hold_the_interpreter():
        ctypes.PyDLL(None).sleep(600)

    def spin():
        while True:
            pass

    def wait_for_each_other():
        first, second = threading.Lock(), threading.Lock()
        met = threading.Barrier(2)

        def take(mine, other):
            with mine:
                met.wait()
                with other:
                    pass

        threading.Thread(target=take, args=(second, first), daemon=True).start()
        take(first, second)

    HANGS = {
        1: lambda: time.sleep(600),
        2: spin,
        3: hold_the_interpreter,
        4: wait_for_each_other,
        5: lambda: threading.Timer(0.05, hold_the_interpreter).start(),
    }

    def process_data(input_data):
        hang = HANGS.get(int(input_data["x"][0]))
        if hang is not None:
            hang()
        return {"y": input_data["x"]}
"""


@pytest.fixture
def models(tmp_path: Path) -> Models:
    return Models(tmp_path / "models")


@pytest.fixture
async def bench(tmp_path: Path, isolation: str) -> AsyncIterator[Bench]:
    async with opened_bench(tmp_path, isolation) as bench:
        yield bench


async def hang_once(bench: Bench, models: Models, kind: float) -> None:
    await run_beside_a_neighbour(bench, models, models.step(HANGING))
    hanging = asyncio.create_task(bench.predict(kind, deadline_s=DEADLINE_S))
    waiting = asyncio.create_task(bench.predict(0.5))
    beside = [await bench.predict(x, version=NEIGHBOUR) for x in (1.0, 2.0, 3.0)]
    with pytest.raises(ModelTimeoutError, match=r"no answer within 0\.5 s"):
        await hanging
    assert beside == [[2.0], [4.0], [6.0]]
    assert await waiting == [0.5]
    replica = status_of(bench)
    assert (replica.status, replica.restarts) == (RunStatus.RUNNING, 1)
    assert replica.last_end == "it was ended: a request ran past its deadline"


async def test_h06_sleep_ends_at_the_deadline(bench: Bench, models: Models) -> None:
    await hang_once(bench, models, 1)


async def test_h07_busy_loop_ends_at_the_deadline(bench: Bench, models: Models) -> None:
    await hang_once(bench, models, 2)


async def test_h08_c_call_that_holds_the_interpreter_ends_at_the_deadline(
    bench: Bench, models: Models
) -> None:
    await hang_once(bench, models, 3)


async def test_h08_worker_that_hangs_between_requests_is_replaced_without_one(
    tmp_path: Path, models: Models, isolation: str
) -> None:
    policy = replace(FAST, ping_interval_s=0.5)
    async with opened_bench(tmp_path, isolation, policy=policy) as bench:
        await bench.run(models.step(HANGING))
        assert await bench.predict(5.0) == [5.0]
        await until_ended_with(bench, "did not answer while it was idle")
        assert await bench.predict(0.5) == [0.5]


async def test_h08_worker_that_is_busy_for_long_is_left_alone(
    tmp_path: Path, models: Models, isolation: str
) -> None:
    policy = replace(FAST, ping_interval_s=0.5)
    async with opened_bench(tmp_path, isolation, policy=policy) as bench:
        model = models.step(
            """
            import ctypes

            def process_data(input_data):
                ctypes.PyDLL(None).sleep(2)
                return {"y": input_data["x"]}
            """
        )
        await bench.run(model)
        assert await bench.predict(1.0) == [1.0]
        assert status_of(bench).restarts == 0


async def test_h09_deadlock_ends_at_the_deadline(bench: Bench, models: Models) -> None:
    await hang_once(bench, models, 4)


async def test_h16_exit_while_importing_is_an_error_with_the_reason(
    bench: Bench, models: Models
) -> None:
    bench.engine.start(deployment(models.step("import sys; sys.exit(3)")))
    told = await bench.until(RunStatus.ERROR)
    assert told.replicas[0].reason == "SystemExit: 3 (step.py, line 1)"


async def test_h16_end_of_the_process_while_importing_is_an_error_with_the_last_output(
    bench: Bench, models: Models
) -> None:
    source = "import os; print('weights are gone', flush=True); os._exit(3)"
    bench.engine.start(deployment(models.step(source)))
    told = await bench.until(RunStatus.ERROR)
    assert "exited with code 3" in str(told.replicas[0].reason)
    assert "weights are gone" in str(told.replicas[0].reason)


async def test_h17_import_that_takes_too_long_is_an_error(
    tmp_path: Path, models: Models, isolation: str
) -> None:
    async with opened_bench(tmp_path, isolation, load_timeout_s=1.0) as bench:
        bench.engine.start(deployment(models.step("import time; time.sleep(600)")))
        told = await bench.until(RunStatus.ERROR)
        assert told.replicas[0].reason == "was not loaded within 1 s"
