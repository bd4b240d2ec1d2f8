"""Loading projects as workers do: unpacked, in a process of its own."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from byop.bundle.archive import unpack

Predict = Callable[..., Any]

_WORKER = """
import asyncio, json, sys
from pathlib import Path
import numpy as np
from byop.bundle.loading import load_inference, load_python_step
from byop.errors import ModelLoadFailedError

load = {"custom": load_inference, "python": load_python_step}[sys.argv[1]]
try:
    model = load(Path(sys.argv[2]))
except ModelLoadFailedError as error:
    print(json.dumps({"failed": error.message}))
    sys.exit()
batch = {name: np.array(values) for name, values in json.load(sys.stdin).items()}
answer = model.predict(batch)
if model.is_async:
    answer = asyncio.run(answer)
print(json.dumps({name: values.tolist() for name, values in answer.items()}))
"""


def _measured() -> dict[str, str]:
    """The variables through which coverage follows a process, when it runs."""
    return {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}


def _run(framework: str, path: Path, batch: object, environment: Mapping[str, str] | None) -> Any:  # noqa: ANN401
    done = subprocess.run(
        [sys.executable, "-P", "-c", _WORKER, framework, str(path)],
        input=json.dumps(batch),
        capture_output=True,
        text=True,
        check=False,
        env={**_measured(), **(environment or {})},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def predict_from(tmp_path: Path) -> Predict:
    """Unpack a zip, load it in a new process and return its answer to ``batch``.

    A model that cannot be loaded gives ``{"failed": <message>}``.
    """

    def predict(
        archive: Path,
        batch: Mapping[str, object],
        *,
        framework: str = "custom",
        environment: Mapping[str, str] | None = None,
    ) -> Any:  # noqa: ANN401
        folder = Path(tempfile.mkdtemp(dir=tmp_path))
        unpack(archive, folder)
        return _run(framework, folder, batch, environment)

    return predict


@pytest.fixture
def predict_with_script() -> Predict:
    """Load a python step from a single file, as ``predict_from``."""

    def predict(script: Path, batch: Mapping[str, object]) -> Any:  # noqa: ANN401
        return _run("python", script, batch, None)

    return predict
