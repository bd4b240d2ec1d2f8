"""Landlock: this process and its children keep to some paths, for good.

Source: the kernel's Documentation/userspace-api/landlock.rst and include/uapi/linux/landlock.h,
read 2026-11-21. A process in a domain also cannot trace, signal or read the memory and the
environment of a process outside of it. Imported inside workers: standard library only.
"""

import ctypes
import os
import stat
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

SIGNALS_ARE_SCOPED_FROM = 6
TCP_IS_HANDLED_FROM = 4

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_ASK_VERSION = 1
_PATH_BENEATH = 1

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_TRUNCATE, _IOCTL_DEV = 1 << 14, 1 << 15
_READING = _EXECUTE | _READ_FILE | _READ_DIR
_OF_A_FILE = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
_NEWEST_RIGHT = {1: 12, 2: 13, 3: 14, 4: 14}
"""The highest bit of the file rights that a version knows; from 5 on it is 15."""
_TCP = 0b11
_ABSTRACT_SOCKETS_AND_SIGNALS = 0b11


class _Ruleset(ctypes.Structure):
    _fields_ = (
        ("handled_access_fs", ctypes.c_uint64),
        ("handled_access_net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    )


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def version() -> int:
    """Return the version of landlock that the kernel speaks, 0 when it has none."""
    if sys.platform != "linux":
        return 0
    return max(0, _call(_CREATE_RULESET, None, ctypes.c_size_t(0), _ASK_VERSION))


def restrict(*, read: Iterable[str], write: Iterable[str], tcp: bool) -> None:
    """Keep this thread and what it starts to these paths. ``no_new_privs`` must be set.

    A path that does not exist is left out; a folder means everything below it. Without ``tcp``
    no TCP connection can be made or awaited, from version 4 on.

    Raises:
        OSError: The kernel refuses.
    """
    abi = version()
    handled = (2 << _NEWEST_RIGHT.get(abi, 15)) - 1
    ruleset = _Ruleset(
        handled,
        0 if tcp or abi < TCP_IS_HANDLED_FROM else _TCP,
        _ABSTRACT_SOCKETS_AND_SIGNALS if abi >= SIGNALS_ARE_SCOPED_FROM else 0,
    )
    with _made(ruleset) as descriptor:
        for path in read:
            _allow(descriptor, path, _READING & handled)
        for path in write:
            _allow(descriptor, path, handled)
        _require(_call(_RESTRICT_SELF, descriptor, 0))


def keep_to_own_sockets() -> None:
    """Forbid abstract sockets and signals of processes outside, and nothing else.

    From version 6 on; before there is no such thing. ``no_new_privs`` must be set.

    Raises:
        OSError: The kernel refuses.
    """
    if version() >= SIGNALS_ARE_SCOPED_FROM:
        with _made(_Ruleset(0, 0, _ABSTRACT_SOCKETS_AND_SIGNALS)) as descriptor:
            _require(_call(_RESTRICT_SELF, descriptor, 0))


@contextmanager
def _made(ruleset: _Ruleset) -> Iterator[int]:
    # A kernel refuses bytes that it does not know only when they are not zero.
    descriptor = _call(_CREATE_RULESET, ctypes.byref(ruleset), ctypes.c_size_t(24), 0)
    _require(descriptor)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _allow(ruleset: int, path: str, access: int) -> None:
    try:
        place = os.open(path, getattr(os, "O_PATH", 0) | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(place).st_mode):
            access &= _OF_A_FILE
        rule = _PathBeneath(access, place)
        _require(_call(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(rule), 0))
    finally:
        os.close(place)


def _call(number: int, *arguments: object) -> int:
    return int(ctypes.CDLL(None, use_errno=True).syscall(ctypes.c_long(number), *arguments))


def _require(answer: int) -> None:
    if answer < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"landlock: {os.strerror(number)}")
