"""Start of a worker process: ``<environment's python> -P worker_main.py``, nothing else in argv.

What to load comes as one JSON object, length first (8 bytes, little-endian), through standard
input. The gateway keeps that pipe open: its end means that the gateway is gone, and then this
process goes too. Of byop exactly the package itself becomes importable, by its path, so a model's
environment needs no byop installed.
"""

import ctypes
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
_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Load the described model and serve it until told to end."""
    _die_with_the_parent()
    lifeline = _take_over_stdin()
    description = _read_description(lifeline)
    threading.Thread(target=_end_with, args=(lifeline,), name="lifeline", daemon=True).start()
    _let_output_out_at_each_line()
    sys.dont_write_bytecode = True  # the project folder is shared by all that run this version
    _make_byop_importable(Path(__file__).parent.parent)
    from byop.engine.worker import run  # noqa: PLC0415 - importable from here on only
    from byop.sdk.env import drop_locale_of_the_interpreter  # noqa: PLC0415 - as above

    drop_locale_of_the_interpreter(description["environment_names"])
    run(description)


def _die_with_the_parent() -> None:
    """Ask Linux for SIGKILL when the gateway dies: it works even while C code holds the GIL."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _take_over_stdin() -> int:
    """Move standard input out of the model's reach and leave it an empty one."""
    lifeline = os.dup(0)
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    return lifeline


def _read_description(lifeline: int) -> dict[str, Any]:
    (length,) = _LENGTH.unpack(_read_exactly(lifeline, _LENGTH.size))
    description = json.loads(_read_exactly(lifeline, length))
    os.set_inheritable(description["listener"], False)
    return dict(description)


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
