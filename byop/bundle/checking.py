"""Checking an upload apart from the server: in a short-lived process with bounds.

One call of Python's parser can hold its process for seconds and take a thousand times the source's
size in memory; a project may do so to the process that checks it, and to no other.
"""

import json
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from byop.bundle.archive_limits import DEFAULT_LIMITS, ArchiveLimits
from byop.bundle.manifest import read_manifest
from byop.bundle.validation import BundleReport
from byop.domain.models import Framework
from byop.errors import (
    ByopError,
    InvalidArchiveError,
    InvalidBundleError,
    ServerStoppingError,
)

_COMMAND = (sys.executable, "-I", "-W", "ignore", "-m", "byop.bundle.checking_process")
_VARIABLES = {"OPENBLAS_NUM_THREADS": "1", "ARROW_DEFAULT_MEMORY_POOL": "system"}
_LIMIT_S = 180.0
_SHOWN_OUTPUT = 2000


def validate_apart(
    zip_path: Path, framework: Framework, limits: ArchiveLimits = DEFAULT_LIMITS
) -> BundleReport:
    """Check an uploaded file as ``validate_archive``, in a process of its own.

    Raises:
        InvalidArchiveError: As ``validate_archive``.
        InvalidBundleError: As ``validate_archive``, or the check took too much time or memory.
        ServerStoppingError: The process was told to stop.
    """
    if framework is Framework.ONNX:
        return BundleReport(framework=framework)
    answer = _ask({"path": str(zip_path), "framework": framework.value, "limits": asdict(limits)})
    if "archive" in answer:
        raise InvalidArchiveError(answer["archive"])
    if "bundle" in answer:
        raise InvalidBundleError(answer["bundle"])
    text = answer["manifest"]
    return BundleReport(
        tuple(answer["requirements"]),
        tuple(answer["warnings"]),
        None if text is None else read_manifest(text),
        framework,
    )


def _ask(request: dict[str, object]) -> Any:  # noqa: ANN401 - JSON
    try:
        done = subprocess.run(  # noqa: S603 - this very interpreter
            _COMMAND,
            input=json.dumps(request).encode(),
            capture_output=True,
            timeout=_LIMIT_S,
            check=False,
            env=_VARIABLES,
        )
    except subprocess.TimeoutExpired:
        raise _unchecked("it takes too long") from None
    if done.returncode < 0:
        raise _ended_by(-done.returncode)
    if done.returncode > 0:
        shown = done.stderr.decode(errors="replace")[-_SHOWN_OUTPUT:]
        raise RuntimeError(f"checking a project broke down: {shown}")
    return json.loads(done.stdout)


def _ended_by(number: int) -> ByopError:
    match number:
        case signal.SIGINT | signal.SIGTERM:  # a service is stopped with all its processes
            return ServerStoppingError()
        case signal.SIGXCPU:
            return _unchecked("it takes too long")
    return _unchecked(f"the process that read its source ended with signal {number}")


def _unchecked(why: str) -> InvalidBundleError:
    return InvalidBundleError(f"The project cannot be checked: {why}")
