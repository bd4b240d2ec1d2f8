import asyncio
import os
import signal
import socket
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import uvloop

from byop.domain.deployments import RunStatus
from byop.domain.identifiers import ModelVersionId
from byop.engine.local import LocalEngine
from byop.errors import (
    ModelCrashedError,
    ModelFailedError,
    ModelLoadFailedError,
    ModelNotRunningError,
    ModelTimeoutError,
    OverloadedError,
    ServerStoppingError,
)
from tests.engine.conftest import (
    DEPLOYMENT,
    DOUBLE,
    MODEL,
    OUTPUTS,
    Bench,
    Models,
    deployment,
    floats,
    until,
    until_ended,
    until_file,
    worker,
)

WORKER_PID = """
    import os, time, pathlib
    HERE = pathlib.Path(__file__).parent
    ME = int.from_bytes(os.urandom(6), "big")

    def process_data(input_data):
        x = input_data["x"]
        if x[0] == -1:
            (HERE / "started").write_text(str(os.getpid()))
            time.sleep(600)
        if x[0] == -2:
            os._exit(3)
        return {"y": x * 0 + ME}
"""


async def test_running_model_answers_and_tells_its_schemas(bench: Bench, models: Models) -> None:
    await bench.run(models.step(DOUBLE))
    assert await bench.predict(1.5, 2.0) == [3.0, 4.0]
    signature = bench.engine.signature(DEPLOYMENT, MODEL)
    assert signature is not None
    assert signature.outputs == OUTPUTS


async def test_request_waits_for_a_starting_model(bench: Bench, models: Models) -> None:
    bench.engine.start(deployment(models.step(DOUBLE)))
    assert await bench.predict(4.0) == [8.0]


async def test_loading_and_predicting_leaves_the_shared_project_folder_as_it_was(
    bench: Bench, models: Models
) -> None:
    model = models.step("""
        def process_data(input_data):
            import sibling
            return {"y": input_data["x"] * sibling.FACTOR}
    """)
    folder = model.path.parent
    (folder / "sibling.py").write_text("FACTOR = 3.0")
    await bench.run(replace(model, path=folder))
    assert await bench.predict(2.0) == [6.0]
    assert sorted(path.name for path in folder.iterdir()) == ["sibling.py", "step.py"]


def test_engine_works_on_uvloop(tmp_path: Path) -> None:
    async def scenario() -> list[object]:
        engine = LocalEngine(
            run_dir=tmp_path / "run", load_timeout_s=60, queue_limit=4, log_dir=tmp_path / "logs"
        )
        await engine.open()
        try:
            engine.start(deployment(Models(tmp_path / "models").step(DOUBLE)))
            large = floats(*([1.0] * 200_000))
            answer = await engine.predict(DEPLOYMENT, MODEL, large, deadline_s=60)
            return [answer.outputs.num_rows, answer.outputs.column("y")[-1].as_py()]
        finally:
            await engine.close(drain_s=1)

    assert uvloop.run(scenario()) == [200_000, 2.0]


async def test_kill_9_of_a_worker_fails_only_its_request(bench: Bench, models: Models) -> None:
    model = models.step(WORKER_PID)
    await bench.run(model)
    before = await bench.predict(1.0)
    hanging = asyncio.create_task(bench.predict(-1.0))
    pid = worker(await until_file(model.path.parent / "started"))
    waiting = asyncio.create_task(bench.predict(1.0))
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(ModelCrashedError, match="signal SIGKILL"):
        await hanging
    assert await waiting != before
    told = await bench.until(RunStatus.RUNNING)
    assert told.replicas[0].restarts == 1


async def test_worker_that_exits_is_reported_with_its_code(bench: Bench, models: Models) -> None:
    await bench.run(models.step(WORKER_PID))
    with pytest.raises(ModelCrashedError, match="exited with code 3"):
        await bench.predict(-2.0)
    assert len(await bench.predict(1.0)) == 1


async def test_request_past_its_deadline_fails_and_its_worker_is_replaced(
    bench: Bench, models: Models
) -> None:
    model = models.step(WORKER_PID)
    await bench.run(model)
    before = await bench.predict(1.0)
    pid = worker()
    with pytest.raises(ModelTimeoutError, match=r"no answer within 0\.2 s"):
        await bench.predict(-1.0, deadline_s=0.2)
    assert await bench.predict(1.0) != before
    await until_ended(pid)


async def test_full_queue_refuses_and_cancelled_requests_are_never_sent(
    bench: Bench, models: Models
) -> None:
    model = models.step(
        """
        import pathlib, time
        HERE = pathlib.Path(__file__).parent

        def process_data(input_data):
            x = input_data["x"]
            with (HERE / "seen").open("a") as seen:
                seen.write(f"{x[0]:.0f} ")
            if x[0] == 0:
                while not (HERE / "go").exists():
                    time.sleep(0.005)
            return {"y": x}
        """
    )
    await bench.run(model)
    seen = model.path.parent / "seen"
    first = asyncio.create_task(bench.predict(0.0))
    await until_file(seen)
    waiting = [asyncio.create_task(bench.predict(float(n))) for n in (1, 2, 3, 4)]
    await asyncio.sleep(0)
    with pytest.raises(OverloadedError, match="has 4 requests waiting"):
        await bench.predict(5.0)
    waiting[1].cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting[1]
    (model.path.parent / "go").touch()
    assert await first == [0.0]
    assert list(await asyncio.gather(waiting[0], waiting[2], waiting[3])) == [[1.0], [3.0], [4.0]]
    assert seen.read_text().split() == ["0", "1", "3", "4"]


async def test_cancelled_running_request_of_a_sync_model_only_drops_its_answer(
    bench: Bench, models: Models
) -> None:
    model = models.step(
        """
        import os, pathlib, time
        HERE = pathlib.Path(__file__).parent
        ME = int.from_bytes(os.urandom(6), "big")

        def process_data(input_data):
            x = input_data["x"]
            if x[0] == 0:
                (HERE / "started").write_text("yes")
                while not (HERE / "go").exists():
                    time.sleep(0.005)
            return {"y": x * 0 + ME}
        """
    )
    await bench.run(model)
    before = await bench.predict(1.0)
    running = asyncio.create_task(bench.predict(0.0))
    await until_file(model.path.parent / "started")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    after = asyncio.create_task(bench.predict(2.0))
    (model.path.parent / "go").touch()
    assert await after == before


async def test_replicas_share_the_requests(bench: Bench, models: Models) -> None:
    model = models.step(
        """
        import os, pathlib, time
        HERE = pathlib.Path(__file__).parent
        ME = int.from_bytes(os.urandom(6), "big")

        def process_data(input_data):
            (HERE / str(ME)).touch()
            while len([p for p in HERE.iterdir() if p.name.isdigit()]) < 2:
                time.sleep(0.005)
            return {"y": input_data["x"] * 0 + ME}
        """
    )
    await bench.run(model, replica_count=2)
    await bench.until_true(lambda told: all(r.status is RunStatus.RUNNING for r in told.replicas))
    answers = await asyncio.gather(bench.predict(1.0), bench.predict(2.0))
    assert answers[0] != answers[1]


async def test_concurrency_lets_a_sync_model_run_several_batches(
    bench: Bench, models: Models
) -> None:
    model = models.step(
        """
        import threading
        both = threading.Barrier(2)

        def process_data(input_data):
            both.wait(30)
            return {"y": input_data["x"]}
        """,
        concurrency=2,
    )
    await bench.run(model)
    answers = await asyncio.gather(bench.predict(1.0), bench.predict(2.0))
    assert list(answers) == [[1.0], [2.0]]


ASYNC_STEP = """
    import asyncio, pathlib
    HERE = pathlib.Path(__file__).parent
    running = 0

    async def process_data(input_data):
        global running
        x = input_data["x"]
        running += 1
        try:
            if x[0] == -1:
                (HERE / "started").write_text("yes")
                await asyncio.sleep(600)
            while running < x[0]:
                await asyncio.sleep(0.001)
            return {"y": x}
        except asyncio.CancelledError:
            (HERE / "cancelled").write_text("yes")
            raise
"""


async def test_async_model_runs_many_batches_at_once(bench: Bench, models: Models) -> None:
    await bench.run(models.step(ASYNC_STEP))
    answers = await asyncio.gather(*(bench.predict(20.0) for _ in range(20)))
    assert answers == [[20.0]] * 20


async def test_cancelling_a_request_cancels_the_task_of_an_async_model(
    bench: Bench, models: Models
) -> None:
    model = models.step(ASYNC_STEP)
    await bench.run(model)
    running = asyncio.create_task(bench.predict(-1.0))
    await until_file(model.path.parent / "started")
    running.cancel()
    await until_file(model.path.parent / "cancelled")
    assert await bench.predict(1.0) == [1.0]


async def test_async_request_past_its_deadline_is_cancelled_and_the_worker_stays(
    bench: Bench, models: Models
) -> None:
    model = models.step(ASYNC_STEP)
    await bench.run(model)
    with pytest.raises(ModelTimeoutError):
        await bench.predict(-1.0, deadline_s=0.2)
    await until_file(model.path.parent / "cancelled")
    assert await bench.predict(1.0) == [1.0]
    told = bench.engine.status(DEPLOYMENT)
    assert told is not None
    assert told.replicas[0].restarts == 0


async def test_model_that_cannot_load_is_an_error_with_the_reason(
    bench: Bench, models: Models
) -> None:
    bench.engine.start(deployment(models.step("raise ValueError('no weights here')")))
    told = await bench.until(RunStatus.ERROR)
    assert "ValueError: no weights here" in str(told.replicas[0].reason)
    assert "ValueError: no weights here" in told.details[0]
    with pytest.raises(ModelNotRunningError, match="no weights here"):
        await bench.predict(1.0)


async def test_worker_that_dies_while_loading_shows_the_end_of_its_log(
    bench: Bench, models: Models
) -> None:
    bench.engine.start(deployment(models.step("import os; print('bye'); os._exit(9)")))
    told = await bench.until(RunStatus.ERROR)
    assert str(told.replicas[0].reason) == "the worker process exited with code 9\nbye"


async def test_model_is_tried_again_after_a_failed_load(bench: Bench, models: Models) -> None:
    model = models.step(
        """
        import pathlib
        if not (pathlib.Path(__file__).parent / "ready").exists():
            raise RuntimeError("the weights are not there yet")

        def process_data(input_data):
            return {"y": input_data["x"]}
        """
    )
    bench.engine.start(deployment(model))
    await bench.until(RunStatus.ERROR)
    (model.path.parent / "ready").touch()
    await bench.until(RunStatus.RUNNING)
    assert await bench.predict(1.0) == [1.0]


async def test_crash_loop_ends_in_error_with_the_reason(bench: Bench, models: Models) -> None:
    model = models.step(
        """
        import os, threading
        threading.Timer(0.01, os._exit, [4]).start()

        def process_data(input_data):
            return {"y": input_data["x"]}
        """
    )
    bench.engine.start(deployment(model))
    told = await bench.until(RunStatus.ERROR)
    assert "exited with code 4" in str(told.replicas[0].reason)


async def test_stop_lets_the_running_request_end_and_refuses_new_ones(
    bench: Bench, models: Models
) -> None:
    model = models.step(
        """
        import os, pathlib, time
        HERE = pathlib.Path(__file__).parent

        def process_data(input_data):
            (HERE / "started").write_text(str(os.getpid()))
            while not (HERE / "go").exists():
                time.sleep(0.005)
            return {"y": input_data["x"]}
        """
    )
    await bench.run(model)
    running = asyncio.create_task(bench.predict(1.0))
    pid = worker(await until_file(model.path.parent / "started"))
    bench.engine.stop(DEPLOYMENT)
    bench.engine.stop(DEPLOYMENT)
    assert bench.engine.status(DEPLOYMENT) is None
    with pytest.raises(ModelNotRunningError):
        await bench.predict(2.0)
    (model.path.parent / "go").touch()
    assert await running == [1.0]
    await until_ended(pid)


async def test_replacing_a_deployment_fails_no_request(bench: Bench, models: Models) -> None:
    await bench.run(models.step(DOUBLE))
    answers: list[float] = []
    is_replaced = asyncio.Event()

    async def ask() -> None:
        while not is_replaced.is_set():
            answers.extend(await bench.predict(1.0))

    asking = [asyncio.create_task(ask()) for _ in range(2)]
    bench.engine.start(
        deployment(models.step(DOUBLE.replace("* 2", "* 3"), version=1), replica_count=2)
    )
    await until(lambda: 3.0 in answers)
    is_replaced.set()
    await asyncio.gather(*asking)
    assert set(answers) == {2.0, 3.0}
    assert answers == sorted(answers)


async def test_replacement_that_cannot_load_leaves_the_old_run_in_use(
    bench: Bench, models: Models
) -> None:
    await bench.run(models.step(DOUBLE))
    bench.engine.start(deployment(models.step("1/0", version=2)))
    told = await bench.until(RunStatus.ERROR)
    assert "ZeroDivisionError" in str(told.replicas[0].reason)
    assert await bench.predict(1.0) == [2.0]


async def test_probe_that_a_stop_breaks_off_says_so(bench: Bench, models: Models) -> None:
    model = models.step(
        """
        import pathlib, time
        (pathlib.Path(__file__).parent / "started").write_text("yes")
        time.sleep(600)
        """
    )
    probing = asyncio.create_task(asyncio.to_thread(bench.engine.probe, model, timeout_s=600))
    await until_file(model.path.parent / "started")
    await bench.engine.close(drain_s=1)
    with pytest.raises(ServerStoppingError):
        await probing
    with pytest.raises(ServerStoppingError):
        await asyncio.to_thread(bench.engine.probe, model, timeout_s=600)


async def test_probe_returns_the_schemas_of_a_model_and_ends_its_worker(
    bench: Bench, models: Models
) -> None:
    model = models.step(
        "import os; print(os.getpid(), flush=True)\n" + DOUBLE.replace("    ", "", 1)
    )
    broken = models.step("import nothing_of_that_name", version=2)
    signature = await asyncio.to_thread(bench.engine.probe, model, timeout_s=60)
    assert signature.outputs == OUTPUTS
    with pytest.raises(ModelLoadFailedError, match="nothing_of_that_name"):
        await asyncio.to_thread(bench.engine.probe, broken, timeout_s=60)
    assert [p.cmdline() for p in psutil.Process().children()] == []


async def test_model_cannot_corrupt_the_channel_by_writing_to_its_output(
    bench: Bench, models: Models
) -> None:
    await bench.run(
        models.step(
            """
            import os, sys

            def process_data(input_data):
                sys.stdout.write("byop" * 10_000)
                os.write(1, b"\\x00\\xff" * 100)
                print(sys.stdin.read())
                return {"y": input_data["x"]}
            """
        )
    )
    assert await bench.predict(1.0) == [1.0]
    assert await bench.predict(2.0) == [2.0]


async def test_model_that_closes_every_descriptor_crashes_alone(
    bench: Bench, models: Models
) -> None:
    await bench.run(
        models.step(
            """
            import os

            def process_data(input_data):
                if input_data["x"][0] == 0:
                    os.closerange(3, 100)
                return {"y": input_data["x"]}
            """
        )
    )
    with pytest.raises((ModelCrashedError, ModelFailedError)):
        await bench.predict(0.0)
    assert await bench.predict(1.0) == [1.0]


async def test_socket_path_is_short_even_in_a_deep_home(tmp_path: Path, models: Models) -> None:
    deep = tmp_path / ("d" * 100)
    engine = LocalEngine(
        run_dir=deep / "run", load_timeout_s=60, queue_limit=1, log_dir=deep / "logs"
    )
    await engine.open()
    try:
        engine.start(deployment(models.step(DOUBLE)))
        answer = await engine.predict(DEPLOYMENT, MODEL, floats(1.0), deadline_s=60)
        assert answer.outputs.num_rows == 1
    finally:
        await engine.close(drain_s=0)


async def test_unknown_model_version_is_not_running(bench: Bench, models: Models) -> None:
    bench.engine.start(deployment(models.step(DOUBLE)))
    with pytest.raises(ModelNotRunningError):
        await bench.engine.predict(DEPLOYMENT, ModelVersionId(99), floats(1.0), deadline_s=1)


async def test_worker_has_no_descriptor_of_the_server(bench: Bench, models: Models) -> None:
    with socket.socket() as precious:
        os.set_inheritable(precious.fileno(), True)
        await bench.run(
            models.step(
                """
                import os

                def process_data(input_data):
                    found = 0
                    for name in os.listdir("/proc/self/fd"):
                        link = "/proc/self/fd/" + name
                        found += os.path.lexists(link) and "socket:" in os.readlink(link)
                    return {"y": input_data["x"] * 0 + found}
                """
            )
        )
        # Its listening socket and the gateway's connection.
        assert await bench.predict(1.0) == [2.0]


async def test_async_worker_that_blocks_its_loop_is_replaced(bench: Bench, models: Models) -> None:
    model = models.step(
        """
        import time

        async def process_data(input_data):
            if input_data["x"][0] == 0:
                time.sleep(600)
            return {"y": input_data["x"]}
        """
    )
    await bench.run(model)
    pid = worker()
    with pytest.raises(ModelTimeoutError):
        await bench.predict(0.0, deadline_s=0.2)
    await until_ended(pid)
    assert await bench.predict(1.0) == [1.0]


async def test_request_past_its_deadline_lets_the_others_of_its_worker_end(
    bench: Bench, models: Models
) -> None:
    model = models.step(
        """
        import os, pathlib, time
        HERE = pathlib.Path(__file__).parent

        def process_data(input_data):
            x = input_data["x"]
            if x[0] == 0:
                time.sleep(600)
            if x[0] == 1:
                (HERE / "started").write_text(str(os.getpid()))
                while not (HERE / "go").exists():
                    time.sleep(0.005)
            return {"y": x}
        """,
        concurrency=2,
    )
    await bench.run(model)
    other = asyncio.create_task(bench.predict(1.0))
    pid = worker(await until_file(model.path.parent / "started"))
    with pytest.raises(ModelTimeoutError):
        await bench.predict(0.0, deadline_s=0.1)
    (model.path.parent / "go").touch()
    assert await other == [1.0]
    await until_ended(pid)


async def test_model_that_takes_too_long_to_load_is_an_error(
    tmp_path: Path, models: Models
) -> None:
    engine = LocalEngine(
        run_dir=tmp_path / "run", load_timeout_s=0.3, queue_limit=1, log_dir=tmp_path / "logs"
    )
    await engine.open()
    bench = Bench(engine)
    try:
        engine.start(deployment(models.step("import time; time.sleep(600)")))
        told = await bench.until(RunStatus.ERROR)
        assert "was not loaded within 0.3 s" in str(told.replicas[0].reason)
    finally:
        await engine.close(drain_s=0)


async def test_request_for_a_model_that_does_not_come_up_ends_at_its_deadline(
    bench: Bench, models: Models
) -> None:
    bench.engine.start(deployment(models.step("import time; time.sleep(600)")))
    with pytest.raises(ModelNotRunningError, match=r"no replica came up within 0\.2 s"):
        await bench.predict(1.0, deadline_s=0.2)
