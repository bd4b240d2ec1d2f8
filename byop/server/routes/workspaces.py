"""Workspaces (seed 001, "Workspace Management")."""

from fastapi import APIRouter

from byop.domain.workspaces import Workspace
from byop.server.auth import Caller, Wired
from byop.wire.answers import WorkspaceCreated, WorkspaceItem, WorkspaceList
from byop.wire.shapes import CreateWorkspace, ListWorkspaces

router = APIRouter(prefix="/v1/api/workspaces", tags=["workspaces"])

_ALL = ListWorkspaces()


@router.post("/create", summary="Create a workspace")
def create_workspace(caller: Caller, services: Wired, body: CreateWorkspace) -> WorkspaceCreated:
    """Make a workspace that the caller owns."""
    workspace = services.workspaces.create(caller, body.workspace_name)
    return WorkspaceCreated(workspace_id=workspace.id)


@router.post("/list", summary="List workspaces")
def list_workspaces(caller: Caller, services: Wired, body: ListWorkspaces = _ALL) -> WorkspaceList:
    """Return the workspaces that the caller sees, oldest first."""
    visible = services.workspaces.list_visible(caller, body.user_id)
    return WorkspaceList(workspaces=[_item(workspace) for workspace in visible])


def _item(workspace: Workspace) -> WorkspaceItem:
    return WorkspaceItem(
        id=workspace.id,
        name=workspace.name,
        created_at=workspace.created_at.isoformat(),
        created_by=workspace.created_by,
        archived=workspace.is_archived,
        models=list(workspace.model_ids),
        pipelines=list(workspace.pipeline_ids),
    )
