"""What changes during a soak: uploads, deployments that come and go, log pages that are read."""

import threading
import time
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.http_inference import MODEL
from byop.client import Client, DeploymentConfigBuilder
from byop.domain.models import Framework

_PAUSE_S = 2.0
_WEIGHTS_BYTES = 500_000
_INPUTS = pa.schema([pa.field("tensor", pa.list_(pa.float32()))])
_OUTPUTS = pa.schema([pa.field("y", pa.float32())])


class Changes:
    """A client of its own that changes things, one after the other, until it is stopped."""

    def __init__(self, address: str, home: Path) -> None:
        self._client = Client(
            api_endpoint=address,
            credentials_file=home / "initial-credentials.json",
            request_timeout=120,
        )
        self._folder = home.parent
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._change)
        self._random = np.random.default_rng(0)
        self.done: Counter[str] = Counter()
        self.failures: list[str] = []

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the change that is made now."""
        self._is_over.set()
        self._thread.join()
        self._client.close()

    def _change(self) -> None:
        workspace = self._client.get_workspace("bench", create_if_not_exist=True)
        self._client.set_current_workspace(workspace)
        while not self._is_over.wait(_PAUSE_S):
            try:
                self._upload_and_deploy()
                self._read_the_log()
            except Exception as error:  # noqa: BLE001 - told at the end
                self.failures.append(f"a change failed: {type(error).__name__}: {error}")

    def _upload_and_deploy(self) -> None:
        archive = self._folder / "change.zip"
        with zipfile.ZipFile(archive, "w") as zipped:
            zipped.writestr("linear.py", MODEL)
            zipped.writestr("requirements.txt", "")
            zipped.writestr("weights.bin", self._random.bytes(_WEIGHTS_BYTES))
        model = self._client.upload_model("change", archive, Framework.CUSTOM, _INPUTS, _OUTPUTS)
        self.done["uploads"] += 1
        pipeline = self._client.build_pipeline("change")
        pipeline.clear().add_model_step(model)
        pipeline.deploy(deployment_config=DeploymentConfigBuilder().cpus(1).build())
        pipeline.infer({"tensor": [[float(i) for i in range(29)]]})
        pipeline.undeploy()
        self.done["deployments"] += 1

    def _read_the_log(self) -> None:
        began = time.monotonic()
        rows = self._client.build_pipeline("bench").logs(limit=5_000, arrow=True).num_rows
        self.done["log rows read"] += rows
        self.done["milliseconds of reading"] += round(1000 * (time.monotonic() - began))
