"""How workers are kept apart from the server, from each other and from the machine."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["bubblewrap", "landlock", "process"]


@dataclass(frozen=True, slots=True)
class Isolation:
    """What every worker of one engine is started under, decided once.

    Attributes:
        level: The strongest layer in use.
        reason: Why it is not bubblewrap; empty when it is.
    """

    level: Level
    reason: str = ""


BY_PROCESS = Isolation("process", "this engine was given no isolation")
"""A process group and limits, nothing else: for engines that were not told."""
