"""How a worker confines itself before it loads a model, as its description tells.

Imported inside workers: standard library only.
"""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from byop.engine import landlock, process_limits, supervisor

_READ_AT_EXEC = ("LD_", "DYLD_", "PYTHON", "MALLOC_", "LC_")
_ALSO_READ_AT_EXEC = frozenset({"GLIBC_TUNABLES", "LANG", "LANGUAGE"})


def enter(given: Mapping[str, Any], *, lifeline: int, listener: int) -> int | None:
    """Take on the confinement; return the lifeline when it is still this process's to watch.

    Under a supervisor only the child returns, without the lifeline.
    """
    kept: int | None = lifeline
    process_limits.hide_from_others()
    process_limits.forget_keys()
    if given["is_supervised"]:
        supervisor.run_supervised(lifeline, close=listener)
        process_limits.give_up_privileges()
        kept = None
    process_limits.keep_to_cpus(given["cpus"])
    process_limits.set_limits(given["limits"])
    if given["landlock"] is not None:
        landlock.restrict(**given["landlock"])
    if given["has_shared_sockets"]:
        landlock.keep_to_own_sockets()
    return kept


def is_read_at_exec(name: str) -> bool:
    """Return whether loader, allocator or interpreter read the variable before any code runs.

    These must be in a worker's environment when its interpreter starts, so they can be seen in
    /proc; all others are set by the worker itself.
    """
    return name.startswith(_READ_AT_EXEC) or name in _ALSO_READ_AT_EXEC


def start_again_with(
    variables: Mapping[str, str], script: str, description: Mapping[str, Any], keep: Sequence[int]
) -> NoReturn:
    """Replace this process by a new interpreter that has the variables from its start.

    It gets the description through the descriptor in its one argument, and keeps ``keep``.
    """
    raw = json.dumps(description).encode()
    handover = os.memfd_create("description", 0)
    with os.fdopen(os.dup(handover), "wb") as file:
        file.write(raw)
    os.lseek(handover, 0, os.SEEK_SET)
    for descriptor in keep:
        os.set_inheritable(descriptor, True)
    arguments = [sys.executable, "-P", script, str(handover)]
    os.execve(sys.executable, arguments, dict(variables))  # noqa: S606 - this very interpreter
