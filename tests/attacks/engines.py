"""Engines with real workers under the asked isolation, for attacks by a model on its own server."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from byop.domain.deployments import EngineStatus, ReplicaStatus
from byop.domain.identifiers import ModelVersionId
from byop.engine.frames import MAX_PAYLOAD_BYTES
from byop.engine.isolation import Allowance, open_isolation
from byop.engine.local import LocalEngine
from byop.engine.replica import RestartPolicy
from byop.ports.engine import ModelLaunch
from byop.settings import CgroupsMode, IsolationMode
from tests.engine.conftest import DEPLOYMENT, DOUBLE, MODEL, PATIENCE_S, Bench, Models

NEIGHBOUR = ModelVersionId(2)
FAST = RestartPolicy(first_delay_s=0.05, longest_delay_s=0.2, exit_s=0.5)


@asynccontextmanager
async def opened_bench(
    folder: Path,
    isolation: str,
    *,
    policy: RestartPolicy = FAST,
    load_timeout_s: float = PATIENCE_S,
    max_answer_bytes: int = MAX_PAYLOAD_BYTES,
    cgroups: CgroupsMode = "auto",
) -> AsyncIterator[Bench]:
    """Give an engine; at the end its workers are gone."""
    mode: IsolationMode = "process" if isolation == "process" else "auto"
    confined = open_isolation(
        mode, allowance=Allowance(), root=folder / "isolation", cgroups=cgroups
    )
    engine = LocalEngine(
        run_dir=folder / "run",
        load_timeout_s=load_timeout_s,
        queue_limit=4,
        log_dir=folder / "logs",
        linger_s=0.1,
        policy=policy,
        max_answer_bytes=max_answer_bytes,
        isolation=confined,
    )
    await engine.open()
    try:
        yield Bench(engine)
    finally:
        await engine.close(drain_s=0.5)
        confined.close()


async def run_beside_a_neighbour(bench: Bench, models: Models, model: ModelLaunch) -> None:
    """Start the model and a harmless one."""
    await bench.run(model, models.step(DOUBLE, version=NEIGHBOUR))


def replica_of(told: EngineStatus, version: ModelVersionId = MODEL) -> ReplicaStatus:
    """Return how the model's one replica is."""
    (found,) = [replica for replica in told.replicas if replica.model_version_id == version]
    return found


def status_of(bench: Bench) -> ReplicaStatus:
    """Return how the attacking model's replica is."""
    told = bench.engine.status(DEPLOYMENT)
    assert told is not None
    return replica_of(told)


async def until_ended_with(bench: Bench, reason: str) -> ReplicaStatus:
    """Wait until a worker of the model has ended for this reason."""
    told = await bench.until_true(lambda found: reason in (replica_of(found).last_end or ""))
    return replica_of(told)
