"""How much a zip may hold."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """Limits of one zip, checked before any of it is written.

    Attributes:
        total_bytes: All files together, unpacked.
        entries: Files and folders.
        ratio: How many times its packed size a file over 1 MiB, and the whole zip, may have.
        depth: Folders above a file, and the file itself.
        path_bytes: Length of a path in UTF-8.
    """

    total_bytes: int = 40 << 30
    entries: int = 10_000
    ratio: int = 200
    depth: int = 20
    path_bytes: int = 240


DEFAULT_LIMITS = ArchiveLimits()
