"""Workspaces: who shares models and pipelines."""

from dataclasses import dataclass
from datetime import datetime

from byop.domain.identifiers import ModelId, PipelineId, UserId, WorkspaceId


@dataclass(frozen=True, slots=True)
class Workspace:
    """A named group of models and pipelines, with the ids of both, oldest first."""

    id: WorkspaceId
    name: str
    created_by: UserId
    created_at: datetime
    is_archived: bool = False
    model_ids: tuple[ModelId, ...] = ()
    pipeline_ids: tuple[PipelineId, ...] = ()


def default_workspace_name(email: str) -> str:
    """Name of a user's own workspace: the one that breaks the DNS rule (seed 001)."""
    return f"{email} - Default Workspace"
