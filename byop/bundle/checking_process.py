"""What runs in a process of its own to check one project. See ``checking``.

Reads a request from stdin and writes one answer to stdout, both JSON.
"""

import json
import os
import resource
import sys
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from byop.bundle.archive_limits import ArchiveLimits
from byop.bundle.manifest import MANIFEST_NAME
from byop.bundle.validation import BundleReport, open_project, validate_archive
from byop.domain.models import Framework
from byop.errors import InvalidArchiveError, InvalidBundleError

MEMORY_LIMIT_BYTES = 3 << 29
CPU_LIMIT_S = 60
ANSWER_LIMIT_BYTES = 1 << 20
_NICE = 5
_TOO_MUCH = "The project cannot be checked: {}"


def main() -> None:
    """Answer the one request, within the limits on memory and time."""
    _limit_itself()
    answer = json.dumps(answer_to(json.load(sys.stdin)))
    if len(answer) > ANSWER_LIMIT_BYTES:
        why = f"its requirements and warnings take more than {ANSWER_LIMIT_BYTES} bytes"
        answer = json.dumps({"bundle": _TOO_MUCH.format(why)})
    sys.stdout.write(answer)


def answer_to(request: Mapping[str, Any]) -> dict[str, object]:
    """Return the report, or the message of the error that the check raised."""
    path, framework = Path(request["path"]), Framework(request["framework"])
    limits = ArchiveLimits(**request["limits"])
    try:
        report = validate_archive(path, framework, limits)
        return _described(report, path, limits)
    except InvalidArchiveError as error:
        return {"archive": error.facts["why"]}
    except InvalidBundleError as error:
        return {"bundle": error.message}
    except (RecursionError, MemoryError):
        return {"bundle": _TOO_MUCH.format("it nests too deeply or takes too much memory")}


def _described(report: BundleReport, path: Path, limits: ArchiveLimits) -> dict[str, object]:
    text = None
    if report.manifest is not None:
        with open_project(path, limits) as source:
            text = (source.read(PurePosixPath(MANIFEST_NAME)) or b"").decode("utf-8-sig")
    return {"requirements": report.requirements, "warnings": report.warnings, "manifest": text}


def _limit_itself() -> None:
    os.nice(_NICE)
    for kind, most in (
        (resource.RLIMIT_AS, MEMORY_LIMIT_BYTES),
        (resource.RLIMIT_CPU, CPU_LIMIT_S),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(kind)
        bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (bound, hard))


if __name__ == "__main__":
    main()
