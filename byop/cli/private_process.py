"""Keeping what the server knows inside its process."""

import ctypes
import os
import resource
import sys
from urllib.parse import unquote, urlsplit

from byop.settings import Settings, erase_secrets_from_environment

_PR_SET_DUMPABLE = 4


def keep_memory_private() -> None:
    """Make this process unreadable for others of its user, and end its secrets in the environment.

    No core dump here or in any process below; on Linux no reading of ``/proc/<pid>/environ`` and
    ``/proc/<pid>/mem`` and no debugger, except for root. New files are the user's alone.
    """
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    erase_secrets_from_environment()


def secrets_of(settings: Settings) -> dict[str, str]:
    """Return the texts that the server's own log must not hold, by name."""
    found = {
        "secret_key": settings.secret_key,
        "secret_key_previous": settings.secret_key_previous,
        "admin_password": settings.admin_password,
    }
    password = _password_in(settings.database_url)
    if password:
        found |= {"database_url": settings.database_url, "database_password": password}
    return found


def _password_in(url: str) -> str:
    try:
        return unquote(urlsplit(url).password or "")
    except ValueError:
        return ""
