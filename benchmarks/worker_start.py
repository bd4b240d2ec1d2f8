"""What isolation adds to the start of a worker.

The time from the start of a deployment of one small numpy model to its first answer: in a plain
process, under the fallback (supervisor, landlock, cgroups where they are writable) and under
bubblewrap. The ways take turns in every round, so that a noisy machine hits all; what is shown is
the lower quartile, because noise only adds.
Usage: ``python -m benchmarks.worker_start [ROUNDS]``.
"""

import asyncio
import logging
import statistics
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path

import psutil
import pyarrow as pa
import structlog
import uvloop

from benchmarks.worker_hop import DEPLOYMENT, MODEL, SCHEMA, STEP, batch_of
from byop.domain.deployments import ModelResources
from byop.domain.models import Framework, Signature
from byop.engine.isolation import Allowance, Isolation, open_isolation
from byop.engine.local import LocalEngine
from byop.ports.engine import DeploymentLaunch, ModelLaunch

TARGET_MS = 10.0
PLAIN = "plain process"


class Unconfined(Isolation):
    """The reference: a worker that nothing watches over."""

    @property
    def is_supervised(self) -> bool:
        return False


def ways(folder: Path) -> dict[str, Isolation]:
    found: dict[str, Isolation] = {PLAIN: Unconfined("process")}
    for mode in ("process", "auto"):
        opened = open_isolation(mode, allowance=Allowance(), root=folder / mode)
        found[opened.level] = opened
    return found


async def measure(folder: Path, rounds: int) -> dict[str, float]:
    path = folder / "step.py"
    path.write_text(STEP)
    launch = ModelLaunch(
        MODEL, "linear", "v", "s", Framework.PYTHON, path, Path(sys.executable),
        Signature(SCHEMA, pa.schema([("y", pa.float32())])), ModelResources(),
    )  # fmt: skip
    taken: dict[str, list[float]] = {}
    async with AsyncExitStack() as stack:
        engines = {}
        for name, isolation in ways(folder).items():
            engine = LocalEngine(
                run_dir=folder / f"run-{name[:4]}", load_timeout_s=60, queue_limit=1,
                log_dir=folder / "logs", isolation=isolation,
            )  # fmt: skip
            await engine.open()
            stack.callback(isolation.close)
            stack.push_async_callback(engine.close, drain_s=0)
            engines[name] = engine
            await start_and_stop(engine, launch)
        for _ in range(rounds):
            for name, engine in engines.items():
                taken.setdefault(name, []).append(await start_and_stop(engine, launch))
    return {name: statistics.quantiles(values)[0] * 1e3 for name, values in taken.items()}


async def start_and_stop(engine: LocalEngine, launch: ModelLaunch) -> float:
    """Return the seconds to the first answer; afterwards no process is left."""
    began = time.perf_counter()
    engine.start(DeploymentLaunch(DEPLOYMENT, "bench", 1, (launch,)))
    await engine.predict(DEPLOYMENT, MODEL, batch_of(1), deadline_s=60)
    taken_s = time.perf_counter() - began
    engine.stop(DEPLOYMENT)
    while psutil.Process().children():  # noqa: ASYNC110 - processes set no event
        await asyncio.sleep(0.005)
    return taken_s


def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 25
    with tempfile.TemporaryDirectory(prefix="byop-bench-") as folder:
        ms = uvloop.run(measure(Path(folder), rounds))
    print(f"{'isolation':<14} {'first answer':>14} {'added':>9} {'ratio':>7}")
    for name, found in ms.items():
        added = found - ms[PLAIN]
        target = "" if name == PLAIN else f"   target {TARGET_MS:g} ms"
        print(f"{name:<14} {found:>11.1f} ms {added:>6.1f} ms {found / ms[PLAIN]:>6.2f}x{target}")


if __name__ == "__main__":
    main()
