"""Real workers on small models: what the engine's tests share."""

import asyncio
import contextlib
import sys
import tempfile
import textwrap
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pytest

from byop.domain.deployments import EngineStatus, ModelResources, RunStatus, SecretEnvironment
from byop.domain.identifiers import DeploymentId, ModelVersionId
from byop.domain.models import Framework, Signature
from byop.engine.isolation import Allowance, Isolation, open_isolation
from byop.engine.local import LocalEngine
from byop.engine.replica import RestartPolicy
from byop.ports.engine import DeploymentLaunch, ModelLaunch, Prediction
from byop.settings import IsolationMode

DEPLOYMENT = DeploymentId(7)
MODEL = ModelVersionId(1)
PATIENCE_S = 60.0
INPUTS = pa.schema([("x", pa.float64())])
OUTPUTS = pa.schema([("y", pa.float64())])


def floats(*values: float) -> pa.RecordBatch:
    """Return a batch with the one column ``x``."""
    column = pa.Array.from_buffers(
        pa.float64(), len(values), [None, pa.py_buffer(np.array(values, dtype=np.float64))]
    )
    return pa.RecordBatch.from_arrays([column], schema=INPUTS)


def column(prediction: Prediction, name: str = "y") -> list[float]:
    return [float(value) for value in prediction.outputs.column(name).to_pylist()]


@dataclass(frozen=True, slots=True)
class Models:
    """Writes model files into a folder and describes how to launch them."""

    folder: Path

    def step(
        self,
        source: str,
        *,
        version: int = MODEL,
        environment: Mapping[str, str] | None = None,
        concurrency: int = 1,
        outputs: pa.Schema | None = OUTPUTS,
    ) -> ModelLaunch:
        """Return the launch of a python step, by default of float64 ``x`` to float64 ``y``."""
        self.folder.mkdir(exist_ok=True)
        path = Path(tempfile.mkdtemp(dir=self.folder)) / "step.py"
        path.write_text(textwrap.dedent(source))
        return ModelLaunch(
            model_version_id=ModelVersionId(version),
            name=f"model{version}",
            version="v",
            sha="s",
            framework=Framework.PYTHON,
            path=path,
            python=Path(sys.executable),
            signature=Signature(INPUTS, outputs),
            resources=ModelResources(
                environment=SecretEnvironment(environment), concurrency=concurrency
            ),
        )


DOUBLE = """
    def process_data(input_data):
        return {"y": input_data["x"] * 2}
"""


def deployment(*models: ModelLaunch, replica_count: int = 1) -> DeploymentLaunch:
    return DeploymentLaunch(DEPLOYMENT, "shop-7", replica_count, models)


class Bench:
    """An opened engine, with the calls that tests repeat."""

    def __init__(self, engine: LocalEngine) -> None:
        self.engine = engine

    async def run(self, *models: ModelLaunch, replica_count: int = 1) -> None:
        """Start the models and wait until they run."""
        self.engine.start(deployment(*models, replica_count=replica_count))
        told = await self.until_true(lambda found: found.status is not RunStatus.STARTING)
        assert told.status is RunStatus.RUNNING, told.details

    async def until(self, status: RunStatus) -> EngineStatus:
        """Wait for the deployment's status."""
        return await self.until_true(lambda told: told.status is status)

    async def until_true(self, holds: Callable[[EngineStatus], bool]) -> EngineStatus:
        """Wait until the deployment's status is as it should be."""

        def told() -> EngineStatus:
            found = self.engine.status(DEPLOYMENT)
            assert found is not None
            return found

        await until(lambda: holds(told()))
        return told()

    async def predict(
        self, *values: float, version: int = MODEL, deadline_s: float = PATIENCE_S
    ) -> list[float]:
        """Return column ``y`` of the answer."""
        answer = await self.engine.predict(
            DEPLOYMENT, ModelVersionId(version), floats(*values), deadline_s=deadline_s
        )
        return column(answer)

    def logs(self, *, version: int = MODEL) -> list[str]:
        return self.engine.logs(DEPLOYMENT, ModelVersionId(version), lines=1000)


async def until(holds: Callable[[], bool]) -> None:
    """Wait until something outside this process is so."""
    async with asyncio.timeout(PATIENCE_S):
        while not holds():  # noqa: ASYNC110 - another process does not set our events
            await asyncio.sleep(0.01)


async def until_file(path: Path) -> str:
    """Wait until a model has written the file, and return its text."""
    await until(lambda: path.exists() and bool(path.read_text()))
    return path.read_text()  # noqa: ASYNC240 - a few bytes


def has_ended(pid: int) -> bool:
    """Return whether the process is gone, or a zombie that nobody has waited for."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


async def until_ended(pid: int) -> None:
    """Wait until the process is gone."""
    await until(lambda: has_ended(pid))


def workers(inside: int | None = None) -> list[int]:
    """Return the processes, as this machine numbers them, that hold a model.

    ``inside`` is what such a process takes its own number for: namespaces begin anew.
    """
    found = []
    pending = _workers_below(psutil.Process())
    while pending:
        process = pending.pop()
        with contextlib.suppress(psutil.Error, OSError):
            below = _workers_below(process)
            pending += below
            if not below and inside in (None, own_number(process.pid)):
                found.append(process.pid)
    return found


def _workers_below(process: psutil.Process) -> list[psutil.Process]:
    """Return its own workers: not those of a server that another test runs below this process."""
    return [child for child in process.children() if is_worker(child)]


def worker(inside: int | str | None = None) -> int:
    """Return the one process that holds a model."""
    (found,) = workers(None if inside is None else int(inside))
    return found


def is_worker(process: psutil.Process) -> bool:
    """Return whether the process lives and runs, or watches over, a model."""
    with contextlib.suppress(psutil.Error):
        return any(argument.endswith("worker_main.py") for argument in process.cmdline())
    return False


def own_number(pid: int) -> int:
    """Return the process's number in its innermost namespace."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("NSpid:")[2].splitlines()[0].split()[-1])


@pytest.fixture
def models(tmp_path: Path) -> Models:
    return Models(tmp_path / "models")


@pytest.fixture
def isolated(isolation: str, tmp_path: Path) -> Iterator[Isolation]:
    """What workers are under; their models may write marker files into their folders."""
    markers = tmp_path / "models"
    markers.mkdir()
    mode: IsolationMode = "process" if isolation == "process" else "auto"
    allowance = Allowance(write_paths=[str(markers)])
    opened = open_isolation(mode, allowance=allowance, root=tmp_path / "isolation")
    yield opened
    opened.close()


@pytest.fixture
async def bench(tmp_path: Path, isolated: Isolation) -> AsyncIterator[Bench]:
    engine = LocalEngine(
        isolation=isolated,
        run_dir=tmp_path / "run",
        load_timeout_s=PATIENCE_S,
        queue_limit=4,
        log_dir=tmp_path / "logs",
        linger_s=0.1,
        policy=RestartPolicy(first_delay_s=0.05, longest_delay_s=0.2),
    )
    await engine.open()
    yield Bench(engine)
    await engine.close(drain_s=0.5)
