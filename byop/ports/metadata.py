"""Metadata: users, workspaces, models, pipelines, deployments.

All methods are synchronous, safe from any thread, and each is one transaction: it happens whole
or not at all. Reads of something absent return None; listings are ordered by (created_at, id).
Every method may raise StorageUnavailableError.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from byop.domain.deployments import Deployment, DeploymentConfig
from byop.domain.identifiers import (
    DeploymentId,
    ModelVersionId,
    PipelineId,
    PipelineVersionId,
    UserId,
    WorkspaceId,
)
from byop.domain.models import (
    Conversion,
    ModelReference,
    ModelStatus,
    ModelVersion,
    Signature,
    Visibility,
)
from byop.domain.pipelines import Pipeline, PipelineVersion, Step
from byop.domain.users import ConfidentialClient, User
from byop.domain.workspaces import Workspace


class Users(Protocol):
    """Users and confidential clients."""

    def add(self, user: User) -> None:
        """Store a new user. Raises AlreadyExistsError when the email is taken, ignoring case."""

    def get(self, user_id: UserId) -> User | None:
        """Return the user, ``password_hash`` included."""

    def find(self, login: str) -> User | None:
        """Return the user whose email or username is ``login``, ignoring case."""

    def list_all(self) -> list[User]:
        """Return every user."""

    def add_client(self, client: ConfidentialClient, *, sealed_secret: bytes) -> None:
        """Store a new confidential client. Raises AlreadyExistsError when the id is taken."""

    def get_client(self, client_id: str) -> tuple[ConfidentialClient, bytes] | None:
        """Return the client and its sealed secret."""


class Workspaces(Protocol):
    """Workspaces."""

    def add(self, name: str, *, owner: UserId, created_at: datetime) -> Workspace:
        """Store a new workspace. Raises AlreadyExistsError when the name is taken."""

    def get(self, workspace_id: WorkspaceId) -> Workspace | None:
        """Return the workspace with the ids of its models and pipelines."""

    def list_all(self, *, member: UserId | None = None) -> list[Workspace]:
        """Return every workspace, or those of ``member``, in three statements at most."""

    def is_member(self, workspace_id: WorkspaceId, user_id: UserId) -> bool:
        """Return whether the user owns or was added to the workspace."""


class Models(Protocol):
    """Models and their versions."""

    def add_version(
        self,
        *,
        name: str,
        workspace_id: WorkspaceId,
        owner: UserId,
        visibility: Visibility,
        version: str,
        sha: str,
        file_name: str,
        size_bytes: int,
        conversion: Conversion,
        signature: Signature,
        status: ModelStatus,
        created_at: datetime,
    ) -> ModelVersion:
        """Store a version; the first one under a name also makes the model."""

    def set_status(
        self,
        version_id: ModelVersionId,
        status: ModelStatus,
        *,
        updated_at: datetime,
        error_summary: str | None = None,
        warnings: Sequence[str] | None = None,
        environment_key: str | None = None,
        signature: Signature | None = None,
    ) -> None:
        """Change the status, and each further fact that is not None."""

    def get_version(self, version_id: ModelVersionId) -> ModelVersion | None:
        """Return the version."""

    def find_version(
        self, workspace_id: WorkspaceId, reference: ModelReference
    ) -> ModelVersion | None:
        """Return the version named by ``reference``, in the workspace or public elsewhere."""

    def list_unfinished(self) -> list[ModelVersion]:
        """Return the versions whose status is not final: a restart takes them up again."""


class Pipelines(Protocol):
    """Pipelines and their versions."""

    def add_version(
        self,
        *,
        name: str,
        workspace_id: WorkspaceId,
        owner: UserId,
        version: str,
        steps: Sequence[Step],
        created_at: datetime,
    ) -> tuple[Pipeline, PipelineVersion]:
        """Store a version; the first one under a name also makes the pipeline."""

    def get(self, pipeline_id: PipelineId) -> Pipeline | None:
        """Return the pipeline."""

    def find(self, workspace_id: WorkspaceId, name: str) -> Pipeline | None:
        """Return the pipeline of that name in the workspace."""

    def get_version(self, version_id: PipelineVersionId) -> PipelineVersion | None:
        """Return the version with its steps in order."""


class Deployments(Protocol):
    """Deployments. Environment values are sealed by the store before they are written."""

    def add(
        self,
        *,
        name: str,
        pipeline_id: PipelineId,
        pipeline_version_id: PipelineVersionId,
        workspace_id: WorkspaceId,
        config: DeploymentConfig,
        created_at: datetime,
    ) -> Deployment:
        """Store the pipeline's deployment and return it, ``is_deployed`` true.

        A pipeline keeps one deployment id for life (the address of its inference URL): deploying
        again replaces version and configuration of the same row.
        """

    def get(self, deployment_id: DeploymentId) -> Deployment | None:
        """Return the deployment, environment values opened."""

    def find_for_pipeline(self, pipeline_id: PipelineId) -> Deployment | None:
        """Return the pipeline's deployment, deployed or not."""

    def set_deployed(self, deployment_id: DeploymentId, *, is_deployed: bool) -> None:
        """Switch the flag; switching it off also erases the stored environment values."""

    def list_deployed(self) -> list[Deployment]:
        """Return the deployments that must run: a restart starts them again."""


class MetadataStore(Protocol):
    """All of the above over one database."""

    @property
    def users(self) -> Users:
        """Users and confidential clients."""

    @property
    def workspaces(self) -> Workspaces:
        """Workspaces."""

    @property
    def models(self) -> Models:
        """Models and versions."""

    @property
    def pipelines(self) -> Pipelines:
        """Pipelines and versions."""

    @property
    def deployments(self) -> Deployments:
        """Deployments."""

    def close(self) -> None:
        """Release the database."""
