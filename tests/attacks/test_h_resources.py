"""Models that use up memory, descriptors or the log."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from byop.engine.worker_logs import FILE_BYTES, RING_LINES
from byop.errors import ModelCrashedError, ModelFailedError
from tests.attacks.engines import (
    NEIGHBOUR,
    opened_bench,
    run_beside_a_neighbour,
    status_of,
    until_ended_with,
)
from tests.engine.conftest import DEPLOYMENT, MODEL, Bench, Models, until

MIB = 1024**2
FLOOD_BYTES = 1024**3


@pytest.fixture
def models(tmp_path: Path) -> Models:
    return Models(tmp_path / "models")


@pytest.fixture
async def bench(tmp_path: Path, isolation: str) -> AsyncIterator[Bench]:
    async with opened_bench(tmp_path, isolation) as bench:
        yield bench


async def test_h10_memory_error_is_named_and_the_worker_goes_on(
    bench: Bench, models: Models
) -> None:
    model = models.step(
        """
        import numpy as np

        def process_data(input_data):
            if input_data["x"][0] < 0:
                np.empty(2**50, dtype=np.float64)
            return {"y": input_data["x"]}
        """
    )
    await run_beside_a_neighbour(bench, models, model)
    for _ in range(2):
        with pytest.raises(ModelFailedError, match=r"out of memory: .*Unable to allocate"):
            await bench.predict(-1.0)
    assert await bench.predict(1.0) == [1.0]
    with pytest.raises(ModelFailedError, match="out of memory"):
        await bench.predict(-1.0)
    assert await bench.predict(1.0) == [1.0]
    assert status_of(bench).restarts == 0


async def test_h10_memory_beyond_the_deployments_is_named(bench: Bench, models: Models) -> None:
    model = models.step(
        """
        HELD = []

        def process_data(input_data):
            for _ in range(int(input_data["x"][0])):
                HELD.append(b"x" * 2**20)
            return {"y": input_data["x"]}
        """
    )
    resources = replace(model.resources, memory_bytes=400 * MIB)
    await run_beside_a_neighbour(bench, models, replace(model, resources=resources))
    assert await bench.predict(10.0) == [10.0]
    with pytest.raises((ModelCrashedError, ModelFailedError), match="out of memory"):
        await bench.predict(4096.0)
    assert await bench.predict(4.0, version=NEIGHBOUR) == [8.0]


async def test_h10_memory_beyond_the_deployments_is_named_without_cgroups(
    tmp_path: Path, isolation: str, models: Models
) -> None:
    model = models.step(
        """
        import os, time

        def hold(size):
            held = b"x" * size
            time.sleep(600)

        def process_data(input_data):
            if input_data["x"][0] > 0:
                for _ in range(3):
                    os.fork() or hold(int(input_data["x"][0]))
                time.sleep(600)
            return {"y": input_data["x"]}
        """
    )
    resources = replace(model.resources, memory_bytes=400 * MIB)
    async with opened_bench(tmp_path, isolation, cgroups="off") as bench:
        await run_beside_a_neighbour(bench, models, replace(model, resources=resources))
        with pytest.raises(ModelCrashedError, match=r"out of memory: .* its limit of 400 MiB"):
            await bench.predict(150.0 * MIB)
        assert await bench.predict(0.0) == [0.0]
        assert await bench.predict(4.0, version=NEIGHBOUR) == [8.0]
        assert status_of(bench).restarts == 1


async def test_h10_worker_that_stays_out_of_memory_is_replaced(
    bench: Bench, models: Models
) -> None:
    model = models.step(
        """
        import resource
        HELD = []

        def process_data(input_data):
            if input_data["x"][0] < 0 and not HELD:
                HELD.append(bytearray(2**26))
                with open("/proc/self/statm") as file:
                    used = int(file.read().split()[0]) * resource.getpagesize()
                resource.setrlimit(resource.RLIMIT_AS, (used, used))
            if HELD:
                HELD.append(bytearray(2**26))
            return {"y": input_data["x"]}
        """
    )
    await run_beside_a_neighbour(bench, models, model)
    for _ in range(3):
        with pytest.raises(ModelFailedError, match="out of memory"):
            await bench.predict(-1.0)
    replica = await until_ended_with(bench, "out of memory in 3 requests in a row")
    assert await bench.predict(1.0) == [1.0]
    assert replica.last_end == "it was ended: out of memory in 3 requests in a row"


async def test_h12_worker_without_descriptors_is_replaced(bench: Bench, models: Models) -> None:
    model = models.step(
        """
        HELD = []

        def process_data(input_data):
            while input_data["x"][0] < 0:
                try:
                    HELD.append(open("/dev/null"))
                except OSError as error:
                    raise RuntimeError("the file cannot be read") from error
            return {"y": input_data["x"]}
        """
    )
    await run_beside_a_neighbour(bench, models, model)
    for _ in range(3):
        with pytest.raises(ModelFailedError, match="the file cannot be read"):
            await bench.predict(-1.0)
    await until_ended_with(bench, "out of file descriptors in 3 requests in a row")
    assert await bench.predict(1.0) == [1.0]
    assert await bench.predict(4.0, version=NEIGHBOUR) == [8.0]


async def test_h13_flood_on_standard_output_is_bounded_and_blocks_nobody(
    bench: Bench, models: Models, tmp_path: Path
) -> None:
    model = models.step(
        f"""
        import os
        LINES = (b"x" * 99 + b"\\n") * 10_000

        def process_data(input_data):
            written = 0
            while written < {FLOOD_BYTES}:
                written += os.write(1 + written % 2, LINES)
            return {{"y": input_data["x"]}}
        """
    )
    await run_beside_a_neighbour(bench, models, model)
    before = psutil.Process().memory_info().rss
    flooding = asyncio.create_task(bench.predict(1.0))
    answered = 0
    while not flooding.done():
        assert await bench.predict(4.0, version=NEIGHBOUR) == [8.0]
        answered += 1
    assert await flooding == [1.0]
    assert answered > 10
    await until(lambda: any("output is dropped" in line for line in bench.logs()))
    assert len(bench.engine.logs(DEPLOYMENT, MODEL, lines=10**6)) <= RING_LINES
    kept = [path.stat().st_size for path in (tmp_path / "logs").rglob("model1-0.log*")]
    assert len(kept) <= 2
    assert sum(kept) <= 2 * FILE_BYTES + MIB
    assert psutil.Process().memory_info().rss - before < 64 * MIB
