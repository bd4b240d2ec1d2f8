"""The hop into a worker process, beside a bare Arrow exchange over a Unix socket.

One numpy model, 29 float32 in and 1 out, at 1, 1,000 and 10,000 rows, one request in flight:
called in process, through the engine, and through the least code that moves the same batches
between two processes. The three take turns in every round, so that a noisy machine hits all.
The worker is under the strongest isolation that works, or under the one that is asked for.
Usage: ``python -m benchmarks.worker_hop [ROUNDS [CALLS_PER_ROUND [auto|required|process]]]``.
"""

import asyncio
import logging
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import cast

import numpy as np
import pyarrow as pa
import structlog
import uvloop

from byop.domain.deployments import ModelResources, RunStatus
from byop.domain.identifiers import DeploymentId, ModelVersionId
from byop.domain.models import Framework, Signature
from byop.engine.isolation import Allowance, Isolation, open_isolation
from byop.engine.local import LocalEngine
from byop.ports.engine import DeploymentLaunch, ModelLaunch
from byop.settings import IsolationMode

SIZES = (1, 1000, 10_000)
TARGET_MS = {1: 0.35, 10_000: 1.5}
WIDTH = 29
WEIGHTS = np.linspace(-1, 1, WIDTH, dtype=np.float32)
LENGTH = struct.Struct("<Q")
DEPLOYMENT, MODEL = DeploymentId(1), ModelVersionId(1)
SCHEMA = pa.schema([("tensor", pa.list_(pa.float32(), WIDTH))])
STEP = f"""
import numpy as np
WEIGHTS = np.linspace(-1, 1, {WIDTH}, dtype=np.float32)

def process_data(input_data):
    return {{"y": input_data["tensor"] @ WEIGHTS}}
"""
Call = Callable[[], Awaitable[object]]


def batch_of(rows: int) -> pa.RecordBatch:
    values = np.arange(rows * WIDTH, dtype=np.float32)
    flat = pa.Array.from_buffers(pa.float32(), len(values), [None, pa.py_buffer(values)])
    return pa.RecordBatch.from_arrays(
        [pa.FixedSizeListArray.from_arrays(flat, WIDTH)], schema=SCHEMA
    )


def serve_bare(descriptor: int) -> None:
    """The other process of the bare exchange: length, Arrow stream, the model, and back."""
    with socket.socket(fileno=descriptor) as connection, connection.makefile("rb") as incoming:
        while head := incoming.read(LENGTH.size):
            reader = pa.ipc.open_stream(incoming.read(LENGTH.unpack(head)[0]))
            column = reader.read_next_batch().column(0)
            tensor = column.values.to_numpy().reshape(-1, WIDTH)
            found = pa.py_buffer(tensor @ WEIGHTS)
            answer = pa.Array.from_buffers(pa.float32(), len(column), [None, found])
            payload = encode(pa.RecordBatch.from_arrays([answer], names=["y"]))
            connection.sendall(LENGTH.pack(payload.size))
            connection.sendall(payload)


def encode(batch: pa.RecordBatch) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue()


async def exchange_bare(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, batch: pa.RecordBatch
) -> None:
    payload = encode(batch)
    writer.write(LENGTH.pack(payload.size))
    writer.write(memoryview(payload))
    (length,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
    pa.ipc.open_stream(await reader.readexactly(length)).read_next_batch()


async def call_in_process(batch: pa.RecordBatch) -> None:
    tensor = batch.column(0).values.to_numpy().reshape(-1, WIDTH)
    np.dot(tensor, WEIGHTS)


async def median_ms(call: Call, calls: int) -> float:
    taken = []
    for _ in range(calls):
        start = time.perf_counter()
        await call()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken) * 1e3


async def start_engine(folder: Path, isolation: Isolation) -> LocalEngine:
    path = folder / "step.py"
    path.write_text(STEP)
    launch = ModelLaunch(
        MODEL, "linear", "v", "s", Framework.PYTHON, path, Path(sys.executable),
        Signature(SCHEMA, pa.schema([("y", pa.float32())])), ModelResources(),
    )  # fmt: skip
    engine = LocalEngine(
        run_dir=folder / "run",
        load_timeout_s=60,
        queue_limit=8,
        log_dir=folder / "logs",
        isolation=isolation,
    )
    await engine.open()
    engine.start(DeploymentLaunch(DEPLOYMENT, "bench", 1, (launch,)))
    await engine.predict(DEPLOYMENT, MODEL, batch_of(1), deadline_s=60)
    status = engine.status(DEPLOYMENT)
    if status is None or status.status is not RunStatus.RUNNING:
        raise RuntimeError(f"the worker does not run: {status}")
    return engine


async def measure(
    folder: Path, ours: socket.socket, *, rounds: int, calls: int, mode: IsolationMode
) -> None:
    reader, writer = await asyncio.open_unix_connection(sock=ours, limit=2**22)
    isolation = open_isolation(mode, allowance=Allowance(), root=folder / "isolation")
    engine = await start_engine(folder, isolation)
    print(f"isolation: {isolation.level}")
    print(f"{'rows':>6} {'in process':>11} {'bare':>8} {'byop':>8} {'hop':>8} {'hop/bare hop':>13}")
    try:
        for rows in SIZES:
            batch = batch_of(rows)
            ways: dict[str, Call] = {
                "in process": lambda b=batch: call_in_process(b),
                "bare": lambda b=batch: exchange_bare(reader, writer, b),
                "byop": lambda b=batch: engine.predict(DEPLOYMENT, MODEL, b, deadline_s=60),
            }
            found: dict[str, list[float]] = {name: [] for name in ways}
            for _ in range(rounds):
                for name, call in ways.items():
                    found[name].append(await median_ms(call, calls))
            report(rows, {name: statistics.median(values) for name, values in found.items()})
    finally:
        writer.close()
        await engine.close(drain_s=1)
        isolation.close()


def report(rows: int, ms: dict[str, float]) -> None:
    hop = ms["byop"] - ms["in process"]
    ratio = hop / (ms["bare"] - ms["in process"])
    target = f"   target {TARGET_MS[rows]} ms" if rows in TARGET_MS else ""
    print(
        f"{rows:>6,} {ms['in process']:>8.3f} ms {ms['bare']:>5.3f} ms {ms['byop']:>5.3f} ms "
        f"{hop:>5.3f} ms {ratio:>12.2f}x{target}"
    )


def main() -> None:
    if sys.argv[1:2] == ["--bare"]:
        serve_bare(int(sys.argv[2]))
        return
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    rounds, calls, mode = [*sys.argv[1:], *["7", "300", "auto"][len(sys.argv) - 1 :]]
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-m", "benchmarks.worker_hop", "--bare", str(theirs.fileno())]
    with (
        tempfile.TemporaryDirectory(prefix="byop-bench-") as folder,
        subprocess.Popen(command, pass_fds=[theirs.fileno()]),  # noqa: S603 - this module
    ):
        theirs.close()
        asked = cast("IsolationMode", mode)
        asking = measure(Path(folder), ours, rounds=int(rounds), calls=int(calls), mode=asked)
        uvloop.run(asking)


if __name__ == "__main__":
    main()
