"""Deployments: what is asked for (configuration) and what runs (status)."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from typing_extensions import override

from byop.domain.identifiers import (
    DeploymentId,
    ModelVersionId,
    PipelineId,
    PipelineVersionId,
    WorkspaceId,
)
from byop.errors import InvalidDeploymentConfigError

_MEMORY = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(?:([KMGT])(i?)B?)?\s*", re.IGNORECASE)
_EXPONENT = {"k": 1, "m": 2, "g": 3, "t": 4}


def parse_memory(text: str, *, setting: str = "memory") -> int:
    """Return bytes: ``2Gi``, ``2GiB``, ``999Mi``, ``1.5G`` (decimal) or a bare number of bytes.

    Raises:
        InvalidDeploymentConfigError: The text is no amount of memory.
    """
    found = _MEMORY.fullmatch(text)
    if found is None:
        raise InvalidDeploymentConfigError(
            setting, text, f"{text!r} is no amount of memory such as 2Gi or 512MiB"
        )
    number, unit, binary = found.groups()
    scale = (1024 if binary else 1000) ** _EXPONENT[unit.lower()] if unit else 1
    return int(float(number) * scale)


class SecretEnvironment(Mapping[str, str]):
    """Environment variables of a deployment's model. The values never show in a repr."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, str] | None = None) -> None:
        self._values = dict(values or {})

    @override
    def __getitem__(self, name: str) -> str:
        return self._values[name]

    @override
    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    @override
    def __len__(self) -> int:
        return len(self._values)

    @override
    def __repr__(self) -> str:
        return f"SecretEnvironment({', '.join(f'{name}=***' for name in sorted(self._values))})"


@dataclass(frozen=True, slots=True)
class ModelResources:
    """What one model of a deployment gets. ``cpus`` may be a fraction; None means not limited."""

    cpus: float | None = None
    memory_bytes: int | None = None
    environment: SecretEnvironment = field(default_factory=SecretEnvironment)
    concurrency: int = 1


@dataclass(frozen=True, slots=True)
class DeploymentConfig:
    """Resources of a deployment (seed 001, "Deploy a Current Pipeline Version").

    ``models`` is keyed by model version id. ``raw`` is the JSON text as given, without
    environment values.
    """

    replica_count: int = 1
    engine: ModelResources = field(default_factory=ModelResources)
    models: Mapping[ModelVersionId, ModelResources] = field(default_factory=dict)
    raw: str = "{}"


@dataclass(frozen=True, slots=True)
class Deployment:
    """A pipeline version that runs, or ran. ``name`` is the caller's ``deploy_id``."""

    id: DeploymentId
    name: str
    pipeline_id: PipelineId
    pipeline_version_id: PipelineVersionId
    workspace_id: WorkspaceId
    is_deployed: bool
    config: DeploymentConfig
    created_at: datetime

    @property
    def address(self) -> str:
        """How status and inference routes name it: ``{name}-{id}``."""
        return f"{self.name}-{self.id}"


class RunStatus(StrEnum):
    """State of a deployment or a replica, as the status route spells it."""

    STARTING = "Starting"
    RUNNING = "Running"
    ERROR = "Error"
    STOPPING = "Stopping"


@dataclass(frozen=True, slots=True)
class ReplicaStatus:
    """One worker process. ``reason`` says why it is not Running, ``last_end`` how it last ended."""

    name: str
    model_version_id: ModelVersionId
    status: RunStatus
    reason: str | None = None
    restarts: int = 0
    last_end: str | None = None


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """What the engine knows of one deployment: Running when every model has a running replica.

    ``isolation`` is the level that its workers are under: bubblewrap, landlock or process.
    """

    status: RunStatus
    replicas: tuple[ReplicaStatus, ...]
    details: tuple[str, ...] = ()
    isolation: str = "process"
