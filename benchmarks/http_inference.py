"""HTTP inference: byop with authentication and logging on, beside a bare uvicorn handler.

A numpy model, 29 floats in, 1 out; Arrow and JSON; 1, 1,000 and 10,000 rows; 1 and 16 connections.
Both servers are up during the whole run and take turns, so that a noisy machine hits both. The log
is not rolled meanwhile: the server would do so in the reference's turns.
Usage: ``python -m benchmarks.http_inference [SECONDS_PER_POINT [ROUNDS]]``.
"""

import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import orjson
import pyarrow as pa

from benchmarks.load import Measured, Request, drive
from byop.client import Client, DeploymentConfigBuilder
from byop.domain.models import Framework

HERE = Path(__file__).parent
JSON_TYPE = "application/json; format=pandas-records"
ARROW_TYPE = "application/vnd.apache.arrow.file"
QUERY = "?dataset[]=*&dataset.separator=."
MODEL = """
import numpy as np
from mac.config.inference import CustomInferenceConfig
from mac.inference import Inference
from mac.inference.creation import InferenceBuilder
from mac.types import InferenceData

class Linear(Inference):
    @property
    def expected_model_types(self):
        return {np.ndarray}

    @Inference.model.setter
    def model(self, model):
        self._model = model

    def _predict(self, input_data: InferenceData) -> InferenceData:
        return {"y": input_data["tensor"] @ self.model}

class LinearBuilder(InferenceBuilder):
    @property
    def inference(self):
        return Linear()

    def create(self, config: CustomInferenceConfig):
        inference = self.inference
        inference.model = np.linspace(-1, 1, 29, dtype=np.float32)
        return inference
"""


def bodies(rows: int) -> dict[str, bytes]:
    x = np.random.default_rng(0).standard_normal((rows, 29)).astype(np.float32).round(5)
    records = [{"tensor": [float(f"{v:.5f}") for v in row]} for row in x]
    table = pa.table({"tensor": pa.array(list(x), type=pa.list_(pa.float32()))})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return {JSON_TYPE: orjson.dumps(records), ARROW_TYPE: sink.getvalue().to_pybytes()}


@contextmanager
def byop_server(home: Path) -> Iterator[tuple[str, subprocess.Popen[str], float]]:
    began = time.perf_counter()
    command = [sys.executable, "-m", "byop", "serve", "--port", "0", "--home", str(home)]
    environ = {
        **os.environ,
        "BYOP_LOG_ROLL_ROWS": "1000000000",
        "BYOP_LOG_ROLL_BYTES": str(1 << 50),
    }
    process = subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True)  # noqa: S603 - ourselves
    assert process.stdout is not None  # noqa: S101 - a pipe was asked for
    for line in process.stdout:
        if line.startswith("byop is ready at "):
            break
    else:
        raise RuntimeError("the server did not start")
    try:
        yield line.split()[4], process, time.perf_counter() - began
    finally:
        process.terminate()
        process.wait(60)


@contextmanager
def reference_server() -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [sys.executable, str(HERE / "reference_server.py"), str(port)]
    process = subprocess.Popen(command)  # noqa: S603 - ourselves
    try:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with socket.socket() as trial:
                if trial.connect_ex(("127.0.0.1", port)) == 0:
                    break
        yield port
    finally:
        process.terminate()
        process.wait(20)


def rss_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def deploy(url: str, home: Path, workdir: Path) -> tuple[str, str]:
    """Return the inference URL of a deployed numpy model and the Authorization header."""
    archive = workdir / "linear.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr("linear.py", MODEL)
        zipped.writestr("requirements.txt", "")
    credentials = home / "initial-credentials.json"
    client = Client(api_endpoint=url, credentials_file=credentials, request_timeout=120)
    client.set_current_workspace(client.get_workspace("bench", create_if_not_exist=True))
    model = client.upload_model(
        "linear",
        str(archive),
        Framework.CUSTOM,
        input_schema=pa.schema([pa.field("tensor", pa.list_(pa.float32()))]),
        output_schema=pa.schema([pa.field("y", pa.float32())]),
    )
    pipeline = client.build_pipeline("bench").add_model_step(model)
    pipeline.deploy(deployment_config=DeploymentConfigBuilder().cpus(1).build())
    return pipeline.url(), client.auth.auth_header()["Authorization"]


def main() -> None:
    given = dict(enumerate(sys.argv[1:]))
    seconds, rounds = float(given.get(0, "1")), int(given.get(1, "3"))
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch) / "home"
        with byop_server(home) as (url, process, start_s), reference_server() as reference_port:
            print(f"ready {start_s:.2f} s after start, idle RSS {rss_mib(process.pid):.0f} MiB")
            inference_url, authorization = deploy(url, home, Path(scratch))
            target = urlsplit(inference_url)
            assert target.hostname is not None  # noqa: S101 - an absolute URL
            assert target.port is not None  # noqa: S101 - ours has one
            print(
                f"{'format':6} {'rows':>6} {'conns':>5} {'byop/s':>9} {'bare/s':>9} "
                f"{'ratio':>6} {'byop p50':>9} {'bare p50':>9} {'byop p99':>9}"
            )
            for rows in (1, 1000, 10_000):
                for kind, body in bodies(rows).items():
                    headers = {"Content-Type": kind, "Authorization": authorization}
                    ours = Request(target.hostname, target.port, target.path + QUERY, headers, body)
                    bare = Request("127.0.0.1", reference_port, "/", headers, body)
                    for connections in (1, 16):
                        report(kind, rows, connections, ours, bare, seconds=seconds, rounds=rounds)
            print(f"RSS after the run {rss_mib(process.pid):.0f} MiB")


def report(
    kind: str,
    rows: int,
    connections: int,
    ours: Request,
    bare: Request,
    *,
    seconds: float,
    rounds: int,
) -> None:
    for request in (ours, bare):
        drive(request, connections=connections, seconds=0.2)
    measured = [
        (
            drive(ours, connections=connections, seconds=seconds),
            drive(bare, connections=connections, seconds=seconds),
        )
        for _ in range(rounds)
    ]
    ratio = statistics.median(b.rate / a.rate for a, b in measured)
    a, b = (_median(list(side)) for side in zip(*measured, strict=True))
    name = "json" if kind == JSON_TYPE else "arrow"
    print(
        f"{name:6} {rows:6} {connections:5} {a.rate:9.1f} {b.rate:9.1f} {ratio:6.2f} "
        f"{a.p50_ms:9.2f} {b.p50_ms:9.2f} {a.p99_ms:9.2f}",
        flush=True,
    )


def _median(measured: list[Measured]) -> Measured:
    return sorted(measured, key=lambda one: one.rate)[len(measured) // 2]


if __name__ == "__main__":
    main()
