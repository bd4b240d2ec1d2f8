"""Models that answer wrongly: the request fails by name of the fault, and the worker goes on."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from byop.errors import ModelCrashedError, ModelOutputInvalidError
from tests.attacks.engines import (
    NEIGHBOUR,
    opened_bench,
    run_beside_a_neighbour,
    status_of,
    until_ended_with,
)
from tests.engine.conftest import Bench, Models

LIMIT_BYTES = 1024**2
WRONG = """
    import numpy as np

    def process_data(input_data):
        x = input_data["x"]
        return [
            lambda: {"y": x},
            lambda: {"z": x},
            lambda: {"y": x, "z": x},
            lambda: {"y": np.array(["a"])},
            lambda: {"y": np.array([object()])},
            lambda: {"y": np.append(x, 1.0)},
            lambda: {"y": np.array(1.0)},
            lambda: {"y": [1.0]},
            lambda: {"y": (value for value in x)},
            lambda: (value for value in x),
            lambda: None,
            lambda: {1: x},
        ][int(x[0])]()
"""
TOLD = [
    "column 'y' is missing: got 'z'",
    "column 'z' is not in the schema",
    "column 'y' has the wrong type",
    "column 'y' has the wrong type",
    "wrong length: expected 1, got 2",
    "y",
    "output 'y' must be a numpy array, got list",
    "output 'y' must be a numpy array, got generator",
    "must return a dictionary of numpy arrays, got generator",
    "must return a dictionary of numpy arrays, got NoneType",
    "output names must be strings, got 1",
]
LARGE = """
    import numpy as np

    def process_data(input_data):
        return {"y": np.resize(input_data["x"], len(input_data["x"]) * int(input_data["x"][0]))}
"""
FORGING = """
    import os, stat, time
    import numpy as np
    from byop.engine.frames import FrameKind, encode_header

    def channel():
        for number in range(3, 64):
            try:
                if stat.S_ISSOCK(os.fstat(number).st_mode) and os.get_inheritable(number) is False:
                    yield number
            except OSError:
                pass

    def process_data(input_data):
        if input_data["x"][0] == 1:
            header = encode_header(FrameKind.RESULT, 2**20 + 4096, request_id=1)
            for number in channel():
                try:
                    os.write(number, header)
                except OSError:
                    pass
            time.sleep(600)
        return {"y": input_data["x"]}
"""


@pytest.fixture
def models(tmp_path: Path) -> Models:
    return Models(tmp_path / "models")


@pytest.fixture
async def bench(tmp_path: Path, isolation: str) -> AsyncIterator[Bench]:
    async with opened_bench(tmp_path, isolation, max_answer_bytes=LIMIT_BYTES) as bench:
        yield bench


async def test_h20_output_of_another_shape_fails_its_request_only(
    bench: Bench, models: Models
) -> None:
    await bench.run(models.step(WRONG))
    for number, told in enumerate(TOLD, start=1):
        with pytest.raises(ModelOutputInvalidError, match=re.escape(told)):
            await bench.predict(float(number))
        assert await bench.predict(0.5) == [0.5]
    assert status_of(bench).restarts == 0


async def test_h21_output_over_the_limit_is_refused_in_the_worker(
    bench: Bench, models: Models
) -> None:
    rows = LIMIT_BYTES // 8
    await run_beside_a_neighbour(bench, models, models.step(LARGE, outputs=None))
    with pytest.raises(ModelOutputInvalidError, match=r"over the limit of 1048576 .*BYOP_MAX_AN"):
        await bench.predict(1.0, *np.zeros(rows))
    assert await bench.predict(1.0, 2.0) == [1.0, 2.0]
    assert await bench.predict(4.0, version=NEIGHBOUR) == [8.0]
    assert status_of(bench).restarts == 0


async def test_h21_worker_that_announces_more_than_the_limit_is_cut_off(
    bench: Bench, models: Models
) -> None:
    await run_beside_a_neighbour(bench, models, models.step(FORGING))
    with pytest.raises(ModelCrashedError, match="its channel broke: a frame is larger"):
        await bench.predict(1.0)
    await until_ended_with(bench, "its channel broke")
    assert await bench.predict(4.0, version=NEIGHBOUR) == [8.0]
    assert await bench.predict(0.5) == [0.5]


async def test_h21_not_a_number_and_infinity_are_values(bench: Bench, models: Models) -> None:
    await bench.run(models.step(WRONG.replace('{"y": x},\n', '{"y": x / 0 * [1, 0]},\n', 1)))
    first, second = await bench.predict(0.5, 0.5)
    assert np.isinf(first)
    assert np.isnan(second)
