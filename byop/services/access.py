"""Who may do what. What a caller may not see does not exist for them: NotFoundError."""

from byop.domain.identifiers import ModelVersionId, PipelineId, UserId, WorkspaceId
from byop.domain.models import ModelVersion, Visibility
from byop.domain.pipelines import Pipeline
from byop.domain.users import Principal
from byop.domain.workspaces import Workspace
from byop.errors import NotAllowedError, NotFoundError
from byop.ports.metadata import MetadataStore


class Access:
    """Looks things up for a caller."""

    def __init__(self, metadata: MetadataStore) -> None:
        self._metadata = metadata

    def user(self, principal: Principal) -> UserId:
        """Return the caller's user id.

        Raises:
            NotAllowedError: The token is a program's: it may call inference and nothing else.
        """
        if principal.user_id is None:
            raise NotAllowedError("a client-credentials token may call inference only")
        return principal.user_id

    def workspace(self, principal: Principal, workspace_id: int) -> Workspace:
        """Return a workspace that the caller belongs to, or any for an administrator."""
        user = self.user(principal)
        wanted = WorkspaceId(workspace_id)
        workspace = self._metadata.workspaces.get(wanted)
        if workspace is None or not (
            principal.is_admin or self._metadata.workspaces.is_member(wanted, user)
        ):
            raise NotFoundError("workspace", workspace_id)
        return workspace

    def model_version(self, principal: Principal, version_id: int) -> ModelVersion:
        """Return a model version of the caller's workspaces, or a public one."""
        user = self.user(principal)
        version = self._metadata.models.get_version(ModelVersionId(version_id))
        if version is None or not (
            principal.is_admin
            or version.visibility is Visibility.PUBLIC
            or self._metadata.workspaces.is_member(version.workspace_id, user)
        ):
            raise NotFoundError("model version", version_id)
        return version

    def pipeline(self, principal: Principal, pipeline_id: int) -> Pipeline:
        """Return a pipeline of the caller's workspaces."""
        pipeline = self._metadata.pipelines.get(PipelineId(pipeline_id))
        if pipeline is None or not self.may_use(principal, pipeline.workspace_id):
            raise NotFoundError("pipeline", pipeline_id)
        return pipeline

    def may_use(self, principal: Principal, workspace_id: WorkspaceId) -> bool:
        """Return whether the caller belongs to the workspace or is an administrator."""
        user = self.user(principal)
        return principal.is_admin or self._metadata.workspaces.is_member(workspace_id, user)
