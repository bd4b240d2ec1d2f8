"""Pipelines, their versions and steps."""

from dataclasses import dataclass
from datetime import datetime

from byop.domain.identifiers import PipelineId, PipelineVersionId, UserId, WorkspaceId
from byop.domain.models import ModelReference


@dataclass(frozen=True, slots=True)
class ModelStep:
    """Perform inference with a single model (``add_model_step``)."""

    model: ModelReference


Step = ModelStep
"""Every kind of step. A union once shadow, splits and validations arrive."""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A name in a workspace whose versions are lists of steps."""

    id: PipelineId
    name: str
    workspace_id: WorkspaceId
    owner_id: UserId
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class PipelineVersion:
    """One list of steps. ``version`` is a UUID."""

    id: PipelineVersionId
    pipeline_id: PipelineId
    version: str
    steps: tuple[Step, ...]
    created_at: datetime
