"""What a worker can read of this machine, by the paths that it has outside as well."""

import os
from collections.abc import Iterator
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


def interpreter_paths(python: Path) -> list[str]:
    """Return the folders that an environment's interpreter needs: its own and its base's."""
    found = {python.parent.parent}
    for step in _links(python):
        found |= {step.parent.parent, step.parent.resolve().parent}
    found |= set(_base_of(python.parent.parent / "pyvenv.cfg"))
    return sorted(str(path) for path in found if not _is_of_the_system(path))


def _links(path: Path) -> Iterator[Path]:
    """Yield the path and, link by link, what it stands for."""
    while path.is_symlink():
        path = Path(os.path.normpath(path.parent / path.readlink()))
        yield path


def _base_of(configuration: Path) -> Iterator[Path]:
    """Yield the installation that made a virtual environment (PEP 405)."""
    if not configuration.is_file():
        return
    for line in configuration.read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition("=")
        if name.strip() == "home" and value.strip():
            home = Path(value.strip())
            yield from (home.parent, home.resolve().parent)


def _is_of_the_system(path: Path) -> bool:
    return path == Path("/") or any(path.is_relative_to(place) for place in SYSTEM)
