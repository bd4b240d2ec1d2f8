"""Python environments for models."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from byop.domain.models import Framework


@dataclass(frozen=True, slots=True)
class ModelEnvironment:
    """A built environment: its key (one per distinct lock) and its interpreter."""

    key: str
    python: Path


class Environments(Protocol):
    """Builds and finds environments. Safe from any thread; one build per key at a time."""

    def ensure(self, framework: Framework, requirements: Sequence[str]) -> ModelEnvironment:
        """Return the environment for these requirement lines, building it when it is not there.

        The worker runtime is always beside them. No requirements give the base environment
        (numpy, pandas, pyarrow; for ONNX with onnxruntime), which all such models share.
        Blocking, up to the build limit.

        Raises:
            RequirementsConflictError: They do not fit beside the runtime; names both versions.
            EnvironmentBuildFailedError: The installer failed; holds the end of its log.
            ServerStoppingError: The server stops; nothing of the build is kept.
        """

    def get(self, key: str) -> ModelEnvironment | None:
        """Return the built environment of that key."""
