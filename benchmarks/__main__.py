"""``python -m benchmarks``: every benchmark, one after the other."""

import subprocess
import sys

MODULES = [
    "tables",
    "worker_hop",
    "worker_start",
    "inference_log",
    "inference_log_scale",
    "http_inference",
]

for name in MODULES:
    print(f"== {name}", flush=True)
    command = [sys.executable, "-m", f"benchmarks.{name}"]
    subprocess.run(command, check=True)  # noqa: S603 - our own modules
