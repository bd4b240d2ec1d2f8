"""What a worker can read of this machine, by the paths that it has outside as well."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_STORES = ("/nix/store", "/gnu/store")
_CONFIGURATION = tuple(
    f"/etc/{name}"
    for name in (
        *("ssl", "pki", "ca-certificates", "crypto-policies", "resolv.conf", "hosts"),
        *("nsswitch.conf", "services", "localtime", "timezone"),
        *("ld.so.cache", "alternatives", "OpenCL", "vulkan"),
    )
)
"""Each is a mount, and a mount takes 0.2 ms at every start: what nobody needs is left out."""
_MARKS_OF_ENVIRONMENTS = ("pyvenv.cfg", "conda-meta")
_PARTS = ("pyvenv.cfg", "bin", "include", "lib", "lib32", "lib64")
_MACHINE = ("/sys/devices/system",)
_DEVICES_OF_THE_MACHINE = ("/sys/devices", "/sys/bus", "/sys/class", "/sys/module")


def system_paths() -> list[str]:
    """Return where programs, libraries, certificates, names and time zones lie on this machine."""
    more = _DEVICES_OF_THE_MACHINE if accelerators() else _MACHINE
    return [path for path in (*SYSTEM, *_STORES, *_CONFIGURATION, *more) if Path(path).exists()]


def accelerators() -> list[str]:
    """Return the device nodes of graphics and compute cards."""
    found = [str(path) for path in Path("/dev").glob("nvidia*")]
    return sorted(found) + [path for path in ("/dev/dri", "/dev/kfd") if Path(path).exists()]


def interpreter_paths(python: Path, *, hidden: Iterable[Path] = ()) -> list[str]:
    """Return what an environment's interpreter needs: its own folder and that of its base.

    What leads there are links, each by itself: beside one in a home lies all else of that home. No
    folder is returned that holds the user's home or something ``hidden``.
    """
    hidden = [Path.home(), *hidden]
    root = python.parent.parent
    starts = [python, *_bases_of(root / "pyvenv.cfg", python)]
    steps = {step for start in starts for step in _links(start)}
    roots = {root, *(step.parent.parent for step in steps), *map(_prefix_of, starts)}
    folders = {part for each in roots for part in _parts(each, hidden) if not _holds(part, hidden)}
    alone = {step for step in steps if not any(map(step.is_relative_to, folders))}
    return sorted(str(path) for path in folders | alone if not _is_of_the_system(path))


def _parts(root: Path, hidden: Sequence[Path]) -> list[Path]:
    """Return an environment whole, and of an installation, which may be /opt or a home, its own."""
    is_environment = any((root / name).exists() for name in _MARKS_OF_ENVIRONMENTS)
    if is_environment and not _holds(root, hidden):
        return [root]
    if is_environment or any(root.glob("lib*/python3*/os.py")):
        return [root / name for name in _PARTS if (root / name).exists()]
    return []


def _prefix_of(python: Path) -> Path:
    return python.resolve().parent.parent


def _holds(folder: Path, hidden: Iterable[Path]) -> bool:
    real = folder.resolve()
    return any(path.resolve().is_relative_to(real) for path in hidden)


def _links(path: Path) -> Iterator[Path]:
    """Yield the path and, link by link, what it stands for."""
    yield path
    while path.is_symlink():
        path = Path(os.path.normpath(path.parent.resolve() / path.readlink()))
        yield path


def _bases_of(configuration: Path, python: Path) -> Iterator[Path]:
    """Yield the interpreters of the installation that made a virtual environment (PEP 405)."""
    if not configuration.is_file():
        return
    for line in configuration.read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition("=")
        if name.strip() == "home" and value.strip():
            for called in ("python", "python3", python.name, python.resolve().name):
                base = Path(value.strip()) / called
                if base.exists():
                    yield base


def _is_of_the_system(path: Path) -> bool:
    return path == Path("/") or any(path.is_relative_to(place) for place in SYSTEM)
