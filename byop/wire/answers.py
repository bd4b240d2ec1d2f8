"""What the management routes answer, as pydantic models: FastAPI's and OpenAPI's source.

Sources: seed 001 (each route's section) and reference/wallaroo-sdk.md section 2, read 2026-11-21.
Where the two expect different keys for one fact, an answer has both.
"""

from typing import Any, Literal

from pydantic import Field

from byop.wire.shapes import Shape


class WorkspaceCreated(Shape):
    """The new workspace."""

    workspace_id: int


class WorkspaceItem(Shape):
    """A workspace; ``created_by`` is a user id, ``models`` and ``pipelines`` are ids."""

    id: int
    name: str
    created_at: str
    created_by: str
    archived: bool
    models: list[int]
    pipelines: list[int]


class WorkspaceList(Shape):
    """Workspaces, oldest first."""

    workspaces: list[WorkspaceItem]


class UploadedVersion(Shape):
    """The id of an uploaded version."""

    id: int


class UploadedModels(Shape):
    """One upload's versions."""

    models: list[UploadedVersion]


class InsertedModels(Shape):
    """Everything an upload inserted."""

    returning: list[UploadedModels]


class ModelUploaded(Shape):
    """The answer to an upload: the id of the new version, deep inside."""

    insert_models: InsertedModels


class FileInfo(Shape):
    """The uploaded file of a version. ``size`` is in bytes."""

    version: str
    sha: str
    file_name: str
    size: int


class ConversionInfo(Shape):
    """How the version was asked to be converted."""

    framework: str
    python_version: str
    requirements: list[str]
    arch: str
    accel: str
    framework_config: str


class ModelVersionInfo(Shape):
    """A version, its facts both nested and flat.

    ``model_id`` is the model's name and ``model_version`` the version's UUID, as elsewhere in the
    API; ``models_pk_id`` is the model's number.
    """

    id: int
    name: str
    visibility: str
    workspace_id: int
    conversion: ConversionInfo
    status: str
    task_id: str | None
    file_info: FileInfo
    error_summary: str | None
    warnings: list[str]
    created_by: str
    created_at: str
    updated_at: str
    model_id: str
    model_version: str
    models_pk_id: int
    owner_id: str
    sha: str
    file_name: str
    image_path: str | None = None


class ModelConfigInfo(Shape):
    """How a version runs. Schemas are base64 of Arrow's serialized form."""

    id: int
    model_version_id: int
    runtime: str
    input_schema: str | None
    output_schema: str | None
    created_at: str
    updated_at: str
    tensor_fields: list[str] | None = None
    filter_threshold: float | None = None
    batch_config: str | None = None
    openai: dict[str, Any] | None = None


class ModelVersionDetails(Shape):
    """A version and its configuration."""

    model_version: ModelVersionInfo
    config: ModelConfigInfo


class ModelVersionAnswer(Shape):
    """The answer to ``get_version_by_id``."""

    model_version: ModelVersionDetails


class PipelineCreated(Shape):
    """The pipeline and its new version."""

    pipeline_pk_id: int
    pipeline_variant_pk_id: int
    pipeline_variant_version: str


class DeploymentCreated(Shape):
    """The deployment's id."""

    id: int


class PipelineState(Shape):
    """A pipeline inside an engine; ``id`` is its name."""

    id: str
    status: str
    version: str


class PipelineStates(Shape):
    """The pipelines of an engine."""

    pipelines: list[PipelineState]


class ModelState(Shape):
    """A model version inside an engine."""

    model_version_id: int
    name: str
    version: str
    sha: str
    status: str


class ModelStates(Shape):
    """The model versions of an engine."""

    models: list[ModelState]


class ProcessState(Shape):
    """What stands in for a pod: who it is and how it is."""

    ip: str
    name: str
    status: str
    reason: str | None
    details: list[str]


class EngineState(ProcessState):
    """The part that walks the pipeline; ``isolation`` is the level that its workers are under."""

    isolation: str
    pipeline_statuses: PipelineStates
    model_statuses: ModelStates


class SidekickState(ProcessState):
    """A replica: the process of one model version."""

    statuses: ModelStates
    restarts: int


class DeploymentStatus(Shape):
    """How a deployment runs."""

    status: str
    details: list[str]
    engines: list[EngineState]
    engine_lbs: list[ProcessState]
    sidekicks: list[SidekickState]


class ExternalUrl(Shape):
    """Where a pipeline takes inferences."""

    url: str


class FeatureList(Shape):
    """What this server can do."""

    features: dict[str, str]
    name: str
    is_auth_enabled: bool


class UserItem(Shape):
    """A user in Keycloak's spelling; ``createdTimestamp`` is milliseconds since 1970 UTC."""

    id: str
    email: str
    username: str
    enabled: bool
    emailVerified: bool = True  # noqa: N815 - the documented key
    createdTimestamp: int  # noqa: N815 - the documented key


class UserMap(Shape):
    """Users by id."""

    users: dict[str, UserItem]


class ServerConfig(Shape):
    """What a client asks before it has a token."""

    default_arch: str
    version: str


class Problem(Shape):
    """Every error's answer."""

    code: int = Field(description="The HTTP status")
    status: Literal["Error"] = "Error"
    error: str
    source: Literal["api", "engine", "sidekick"]
    msg: str = Field(description="The same as error")
    type: str = Field(description="Stable name of the kind of error")
    facts: dict[str, Any]
