"""Environments that exist without being built."""

import sys
from collections.abc import Sequence
from pathlib import Path

from byop.domain.models import Framework
from byop.errors import ByopError
from byop.ports.environments import ModelEnvironment


class FakeEnvironments:
    """Implements ``ports.environments.Environments``: every environment is this interpreter.

    ``asked`` records the requirement lines; ``problem`` is raised once it is set.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[Framework, tuple[str, ...]]] = []
        self.problem: ByopError | None = None
        self._built: dict[str, ModelEnvironment] = {}

    def ensure(self, framework: Framework, requirements: Sequence[str]) -> ModelEnvironment:
        self.asked.append((framework, tuple(requirements)))
        if self.problem is not None:
            raise self.problem
        key = f"{framework}-{'-'.join(sorted(requirements))}"
        return self._built.setdefault(key, ModelEnvironment(key, Path(sys.executable)))

    def delete_all(self) -> None:
        """Do as an operator who empties the folder of environments."""
        self._built.clear()

    def get(self, key: str) -> ModelEnvironment | None:
        return self._built.get(key)
