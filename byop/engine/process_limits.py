"""What a worker gives up before it loads a model. Standard library only."""

import ctypes
import os
import resource
import sys
from collections.abc import Mapping

_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38
_CAPABILITY_VERSION_3 = 0x20080522

_KEYCTL = {"x86_64": 250, "aarch64": 219}
_JOIN_SESSION = 1

_KINDS = {
    "core": resource.RLIMIT_CORE,
    "open_files": resource.RLIMIT_NOFILE,
    "file_bytes": resource.RLIMIT_FSIZE,
    "address_space_bytes": resource.RLIMIT_AS,
    "processes": getattr(resource, "RLIMIT_NPROC", None),
}


def set_limits(limits: Mapping[str, int]) -> None:
    """Set soft and hard limits by the names in ``_KINDS``, never above the hard one of now."""
    for name, wanted in limits.items():
        kind = _KINDS[name]
        if kind is None:
            continue
        _, hard = resource.getrlimit(kind)
        limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(kind, (limit, limit))


def hide_from_others() -> None:
    """Keep processes of the same user out of this one's memory and environment, and core dumps."""
    _control(_PR_SET_DUMPABLE, 0)


def forget_keys() -> None:
    """Leave the server's session keyring, which every child inherits, for an empty one (Linux).

    Kernels without keyrings, and filters that forbid the call, leave nothing to reach.
    """
    if sys.platform == "linux" and (number := _KEYCTL.get(os.uname().machine)) is not None:
        ctypes.CDLL(None).syscall(ctypes.c_long(number), ctypes.c_long(_JOIN_SESSION), None)


def give_up_privileges() -> None:
    """Drop every capability, and let no program that is started bring one back (Linux)."""
    _control(_PR_SET_NO_NEW_PRIVS, 1)
    if sys.platform == "linux" and os.geteuid() == 0:
        header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
        ctypes.CDLL(None).capset(header, (ctypes.c_uint32 * 6)())


def keep_to_cpus(cpus: list[int]) -> None:
    """Run on these CPUs only (Linux)."""
    if sys.platform == "linux" and cpus:
        os.sched_setaffinity(0, cpus)


def _control(option: int, argument: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, argument, 0, 0, 0)
