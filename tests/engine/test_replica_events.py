"""What the server's log tells about workers, with real ones that crash and fail."""

from collections.abc import Iterator, MutableMapping
from typing import Any

import pytest
from structlog.testing import capture_logs

from byop.domain.deployments import RunStatus
from byop.errors import ModelCrashedError
from tests.engine.conftest import DEPLOYMENT, DOUBLE, Bench, Models, deployment

Events = list[MutableMapping[str, Any]]

CRASHING = """
    import os

    def process_data(input_data):
        if input_data["x"][0] < 0:
            os._exit(3)
        return {"y": input_data["x"]}
"""
WHO = {"deployment": "shop-7", "model": "model1", "version": "v", "replica": "model1-0"}


@pytest.fixture
def events() -> Iterator[Events]:
    with capture_logs() as captured:
        yield captured


def told(events: Events) -> list[tuple[str, str, int]]:
    return [(event["log_level"], event["event"], event["restarts"]) for event in events]


async def test_life_of_a_replica_is_told(bench: Bench, models: Models, events: Events) -> None:
    await bench.run(models.step(DOUBLE))
    bench.engine.stop(DEPLOYMENT)
    await bench.engine.close(drain_s=1)
    assert told(events) == [
        ("info", "worker starts", 0),
        ("info", "replica ready", 0),
        ("info", "replica stops", 0),
    ]
    assert all(event.items() >= WHO.items() for event in events)


async def test_crash_and_restart_are_warnings_that_say_why(
    bench: Bench, models: Models, events: Events
) -> None:
    await bench.run(models.step(CRASHING))
    with pytest.raises(ModelCrashedError):
        await bench.predict(-1.0)
    assert await bench.predict(1.0) == [1.0]
    assert told(events)[2:] == [
        ("warning", "worker ended", 0),
        ("warning", "worker restarts", 1),
        ("info", "worker starts", 1),
        ("info", "replica ready", 1),
    ]
    for event in events[2:4]:
        assert event["reason"] == "the worker process exited with code 3"
        assert event.items() >= WHO.items()


async def test_replica_that_crashes_in_a_loop_is_told_once_to_be_in_error(
    bench: Bench, models: Models, events: Events
) -> None:
    await bench.run(models.step(CRASHING))
    for _ in range(5):
        await bench.until(RunStatus.RUNNING)
        with pytest.raises(ModelCrashedError):
            await bench.predict(-1.0)
    await bench.until(RunStatus.ERROR)
    (failed,) = [event for event in events if event["event"] == "replica in error"]
    assert failed["log_level"] == "warning"
    assert failed["restarts"] == 4
    assert failed["reason"] == "the worker process exited with code 3"
    assert failed.items() >= WHO.items()


async def test_load_failure_is_told_without_the_secret_in_it(
    bench: Bench, models: Models, events: Events
) -> None:
    model = models.step(
        "import os; raise RuntimeError(os.environ['KEY'])", environment={"KEY": "canary-value"}
    )
    bench.engine.start(deployment(model))
    await bench.until_true(lambda status: status.replicas[0].restarts >= 1)
    assert told(events)[:4] == [
        ("info", "worker starts", 0),
        ("warning", "model was not loaded", 0),
        ("warning", "replica in error", 0),
        ("warning", "worker restarts", 1),
    ]
    for event in events[1:4]:
        assert "RuntimeError: ***" in event["reason"]
        assert event.items() >= WHO.items()
    assert "canary" not in repr(events)
