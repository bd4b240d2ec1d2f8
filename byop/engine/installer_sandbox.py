"""What an installer and the code of packages that it builds can see and change, in bubblewrap.

Sources: the environment variables of uv (docs.astral.sh/uv) and pip (pip.pypa.io), read 2026-11-21.
"""

import contextlib
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import uv

from byop.engine.bubblewrap import Bubblewrap, Sandbox
from byop.engine.visible_paths import interpreter_paths, system_paths

_NOT_PLACES = frozenset({"PATH", "HOME", "TMPDIR", "XDG_CACHE_HOME"})
_CONFIGURATION = ("/etc/pip.conf", "/etc/xdg/pip", "~/.config/pip", "~/.pip")


@dataclass(frozen=True, slots=True)
class InstallerSandbox:
    """Starts installers in bubblewrap, with the network.

    Attributes:
        read: What they can read beside the system, the interpreter and the places that their
            variables name: wheel folders and what the operator allows workers to read.
    """

    bubblewrap: Bubblewrap
    read: Sequence[str] = ()

    def command(
        self, command: Sequence[str], *, folder: Path, environment: Mapping[str, str]
    ) -> tuple[list[str], int]:
        """Return the command line and the descriptor, to pass on and close, that it reads.

        ``folder`` can be written, and so can the caches of the installers. The home is there and
        empty, but for pip's configuration.
        """
        home = environment.get("HOME", "")
        sandbox = Sandbox(
            empty=[home] if Path(home).is_absolute() and home != "/" else [],
            read=[
                *system_paths(),
                *interpreter_paths(Path(sys.executable), hidden=[folder]),
                uv.find_uv_bin(),
                str(Path(__file__).parent),
                *_configuration(home),
                *_places_in(environment),
                *self.read,
            ],
            write=[*_made_caches(environment), str(folder)],
            directory=str(folder),
            environment={**environment, "TMPDIR": _made_temporary(folder)},
        )
        return self.bubblewrap.command(sandbox, command)


def local_places(text: str) -> Iterator[str]:
    """Yield the absolute paths and file URLs among the words of a text, as files and folders."""
    for word in re.split(r"[\s,]+", text):
        path = unquote(urlsplit(word).path) if word.startswith("file:") else word
        is_mounted = path == "/" or path.startswith(("/dev/", "/proc/"))
        if path.startswith("/") and not is_mounted and Path(path).exists():
            yield path


def _places_in(environment: Mapping[str, str]) -> Iterator[str]:
    for name, text in environment.items():
        if name not in _NOT_PLACES:
            yield from local_places(text)


def _configuration(home: str) -> list[str]:
    return [path.replace("~", home) for path in _CONFIGURATION if home or path[0] != "~"]


def _made_caches(environment: Mapping[str, str]) -> Iterator[str]:
    """Yield where uv and pip keep what they have loaded; what is not there cannot be mounted."""
    home = environment.get("HOME")
    caches = environment.get("XDG_CACHE_HOME") or (f"{home}/.cache" if home else None)
    for name in ("uv", "pip"):
        place = environment.get(f"{name.upper()}_CACHE_DIR") or (caches and f"{caches}/{name}")
        if place and Path(place).is_absolute():
            with contextlib.suppress(OSError):
                Path(place).mkdir(parents=True, exist_ok=True)
            yield place


def _made_temporary(folder: Path) -> str:
    """Return a temporary folder on disk: what is unpacked there may be larger than memory."""
    place = folder / "tmp"
    place.mkdir(exist_ok=True)
    return os.fspath(place)
