"""No orphans, and no secret where it does not belong: with real processes."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import psutil
import pytest

from byop.errors import ModelFailedError
from tests.engine.conftest import (
    DEPLOYMENT,
    MODEL,
    Bench,
    Models,
    deployment,
    has_ended,
    own_number,
    until,
    until_ended,
    until_file,
    worker,
    workers,
)

REPORTING = """
    import os, pathlib
    HERE = pathlib.Path(__file__).parent
    (HERE / "pid").write_text(str(os.getpid()))
    (HERE / "environment").write_text("\\n".join(f"{k}={v}" for k, v in os.environ.items()) + "\\n")

    def process_data(input_data):
        return {"y": input_data["x"]}
"""

PARENT = """
    import asyncio, sys
    from pathlib import Path
    import structlog
    from tests.engine.conftest import *

    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))

    STEP = '''
        import os, pathlib, time
        HERE = pathlib.Path(__file__).parent
        (HERE.parent / ("pid-%d" % os.getpid())).write_text(str(os.getpid()))

        def process_data(input_data):
            time.sleep(600)
    '''

    async def main():
        models = Models(Path(sys.argv[1]))
        engine = LocalEngine(
            run_dir=Path(sys.argv[1] + "-run"), load_timeout_s=60, queue_limit=4,
            log_dir=Path(sys.argv[1] + "-logs"),
        )
        await engine.open()
        bench = Bench(engine)
        await bench.run(models.step(STEP), models.step(STEP, version=2))
        asyncio.ensure_future(bench.predict(1.0, deadline_s=600))
        print("running", flush=True)
        await asyncio.sleep(600)

    asyncio.run(main())
"""


async def test_close_leaves_no_process(bench: Bench, models: Models) -> None:
    model = models.step(REPORTING)
    await bench.run(model)
    pid = worker(await until_file(model.path.parent / "pid"))
    assert not has_ended(pid)
    await bench.engine.close(drain_s=1)
    assert has_ended(pid)


async def test_stop_ends_the_processes_that_a_model_started(bench: Bench, models: Models) -> None:
    model = models.step(
        """
        import pathlib, subprocess
        child = subprocess.Popen(["/bin/sleep", "600"])
        (pathlib.Path(__file__).parent / "child").write_text(str(child.pid))

        def process_data(input_data):
            return {"y": input_data["x"]}
        """
    )
    await bench.run(model)
    inside = int(await until_file(model.path.parent / "child"))
    below = [process.pid for process in psutil.Process().children(recursive=True)]
    (child,) = (pid for pid in below if own_number(pid) == inside)
    bench.engine.stop(DEPLOYMENT)
    await until_ended(child)


def test_kill_9_of_the_server_leaves_no_worker(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(textwrap.dedent(PARENT))
    (tmp_path / "temporary").mkdir()
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "models")],
        env={"PYTHONPATH": str(root), "PATH": os.defpath, "TMPDIR": str(tmp_path / "temporary")},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"running\n"
        written = list((tmp_path / "models").glob("pid-*"))
        pids = [int(path.read_text()) for path in written]
        assert len(pids) == 2
        assert not any(map(has_ended, pids))
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    asyncio.run(until(lambda: all(map(has_ended, pids))))
    assert list((tmp_path / "temporary").iterdir()) == []


async def test_worker_has_exactly_the_variables_of_its_deployment(
    bench: Bench, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERVER_CANARY", "canary-of-the-server")
    model = models.step(REPORTING, environment={"MODEL_CANARY": "canary-of-the-model"})
    other = models.step(REPORTING, environment={"OTHER": "canary-of-another"}, version=2)
    await bench.run(model, other)
    told = await until_file(model.path.parent / "environment")
    variables = dict(line.split("=", 1) for line in told.splitlines())
    assert variables.keys() <= {"MODEL_CANARY", "HOME", "TMPDIR"}
    assert variables["MODEL_CANARY"] == "canary-of-the-model"
    pid = workers()[0]
    assert psutil.Process(pid).environ().keys() <= {"PWD"}
    arguments = " ".join(psutil.Process(pid).cmdline())
    assert "canary" not in arguments


async def test_locale_variable_that_was_given_stays(bench: Bench, models: Models) -> None:
    model = models.step(REPORTING, environment={"LC_CTYPE": "C.UTF-8"})
    await bench.run(model)
    told = await until_file(model.path.parent / "environment")
    assert "LC_CTYPE=C.UTF-8" in told.splitlines()


async def test_secret_is_masked_in_errors_logs_and_files(
    bench: Bench, models: Models, tmp_path: Path
) -> None:
    canary = 'canary-"with"-quotes'
    model = models.step(
        """
        import json, os, sys
        KEY = os.environ["KEY"]
        print("loading with", KEY, flush=True)

        def process_data(input_data):
            print("calling", json.dumps({"key": KEY}), file=sys.stderr, flush=True)
            raise RuntimeError("401 for " + KEY)
        """,
        environment={"KEY": canary},
    )
    await bench.run(model)
    with pytest.raises(ModelFailedError, match=r"RuntimeError: 401 for \*\*\*") as caught:
        await bench.predict(1.0)
    await until(lambda: any("RuntimeError: 401" in line for line in bench.logs()))
    bench.engine.stop(DEPLOYMENT)
    files = [path for path in (tmp_path / "logs").rglob("*.log") if path.is_file()]
    assert [path.relative_to(tmp_path) for path in files] == [Path("logs/shop-7/model1-0.log")]
    told = "\n".join([str(caught.value), *map(str, caught.value.facts.values())])
    kept = files[0].read_text()
    assert "loading with ***" in kept
    assert 'calling {"key": "***"}' in kept
    assert "Traceback" in kept
    assert "canary" not in told + kept


async def test_secret_is_masked_in_the_reason_of_a_failed_load(
    bench: Bench, models: Models
) -> None:
    model = models.step(
        "import os; raise RuntimeError(os.environ['KEY'])", environment={"KEY": "canary-value"}
    )
    bench.engine.start(deployment(model))
    told = await bench.until_true(lambda found: found.replicas[0].reason is not None)
    assert "RuntimeError: ***" in str(told.replicas[0].reason)
    assert "canary" not in repr(told) + "".join(bench.logs())
    assert bench.engine.logs(DEPLOYMENT, MODEL, lines=1) == bench.logs()[-1:]
