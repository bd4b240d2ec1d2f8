"""Start of a worker process: ``<environment's python> -P worker_main.py``, nothing secret in argv.

What to load comes as one JSON object, length first (8 bytes, little-endian), through standard
input: also the variables of the deployment, which are therefore never in /proc/<pid>/environ. The
gateway keeps that pipe open: its end means that the gateway is gone, and then this process goes
too. Of byop exactly the package itself becomes importable, by its path, so a model's environment
needs no byop installed.
"""

import importlib.util
import io
import json
import os
import signal
import struct
import sys
import threading
from pathlib import Path
from typing import Any

_LENGTH = struct.Struct("<Q")


def main() -> None:
    """Load the described model and serve it until told to end."""
    _make_byop_importable(Path(__file__).parent.parent)
    description = _confined_before() if len(sys.argv) > 1 else _confine()
    os.set_inheritable(description["listener"], False)
    lifeline = description["lifeline"]
    if lifeline is not None:
        threading.Thread(target=_end_with, args=(lifeline,), name="lifeline", daemon=True).start()
    _let_output_out_at_each_line()
    sys.dont_write_bytecode = True  # the project folder is shared by all that run this version
    from byop.engine.worker import run  # noqa: PLC0415 - importable from here on only
    from byop.sdk.env import set_deployment_variables  # noqa: PLC0415 - as above

    set_deployment_variables(description["environment"], defaults=description["defaults"])
    run(description)


def _confine() -> dict[str, Any]:
    """Return the description from standard input, with this process confined as it says."""
    from byop.engine import confinement, supervisor  # noqa: PLC0415 - importable from here on only

    supervisor.die_with_parent(signal.SIGKILL)
    lifeline = _take_over_stdin()
    description = _read_description(lifeline)
    listener = description["listener"]
    description["lifeline"] = confinement.enter(
        description.pop("confinement"), lifeline=lifeline, listener=listener
    )
    given = description["environment"]
    early = {name: text for name, text in given.items() if confinement.is_read_at_exec(name)}
    if early and hasattr(os, "memfd_create"):
        kept = [listener] if description["lifeline"] is None else [listener, lifeline]
        confinement.start_again_with(early, __file__, description, kept)
    return description


def _confined_before() -> dict[str, Any]:
    """Return the description that the interpreter before this one left, confined already."""
    from byop.engine.process_limits import hide_from_others  # noqa: PLC0415 - as above

    hide_from_others()  # a new program begins without
    with os.fdopen(int(sys.argv.pop()), "rb") as handover:
        description = json.load(handover)
    if description["lifeline"] is not None:
        os.set_inheritable(description["lifeline"], False)
    return dict(description)


def _take_over_stdin() -> int:
    """Move standard input out of the model's reach and leave it an empty one."""
    lifeline = os.dup(0)
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    return lifeline


def _read_description(lifeline: int) -> dict[str, Any]:
    (length,) = _LENGTH.unpack(_read_exactly(lifeline, _LENGTH.size))
    return dict(json.loads(_read_exactly(lifeline, length)))


def _read_exactly(descriptor: int, length: int) -> bytes:
    found = bytearray()
    while len(found) < length:
        part = os.read(descriptor, length - len(found))
        if not part:
            os._exit(1)
        found += part
    return bytes(found)


def _end_with(lifeline: int) -> None:
    """Wait for the end of the pipe, then kill this process and those that it started."""
    while os.read(lifeline, 4096):
        pass
    if os.getpid() == os.getpgid(0):
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _let_output_out_at_each_line() -> None:
    """Keep a model's last words out of a buffer that a crash would lose."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)


def _make_byop_importable(package: Path) -> None:
    spec = importlib.util.spec_from_file_location(
        "byop", package / "__init__.py", submodule_search_locations=[str(package)]
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"no byop package in {package}")
    module = importlib.util.module_from_spec(spec)
    sys.modules["byop"] = module
    spec.loader.exec_module(module)


if __name__ == "__main__":
    main()
