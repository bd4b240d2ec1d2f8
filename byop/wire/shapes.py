"""What the management routes take, as pydantic models: FastAPI's and OpenAPI's source.

Sources: seed 001 (each route's section) and reference/wallaroo-sdk.md section 2, read 2026-11-21.
Fields that are not named here are ignored. Numbers may come as text (``"workspace_id": "7"``):
the seeds call some ids "String Required".
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from byop.domain.models import Visibility
from byop.json_text import read_json


def _parsed(value: object) -> object:
    """Return what a JSON text holds: some clients send objects and lists as text."""
    if not isinstance(value, str):
        return value
    return read_json(value) if value.strip() else None


Number = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]
"""A number that a database holds."""

JsonObject = Annotated[dict[str, Any] | None, BeforeValidator(_parsed)]
TextList = Annotated[list[str] | None, BeforeValidator(_parsed)]


class Shape(BaseModel):
    """Settings of every shape: ``model_`` is a prefix of the product's own nouns."""

    model_config = ConfigDict(protected_namespaces=())


class Empty(Shape):
    """An empty object."""


class CreateWorkspace(Shape):
    """Make a workspace."""

    workspace_name: str


class ListWorkspaces(Shape):
    """List workspaces, those of one user when ``user_id`` is given."""

    user_id: str | None = None


class ConversionSettings(Shape):
    """The ``conversion`` object of an upload. ``accel`` may be an object in newer clients."""

    framework: str | None = None
    python_version: str | None = None
    requirements: TextList = None
    arch: str | None = None
    accel: str | dict[str, Any] | None = None
    framework_config: JsonObject = None
    input_schema: str | None = None
    output_schema: str | None = None


class UploadMetadata(Shape):
    """The ``metadata`` part of an upload. Schemas are base64 of Arrow's serialized form."""

    name: str
    workspace_id: Number
    visibility: Visibility = Visibility.PRIVATE
    conversion: Annotated[ConversionSettings | None, BeforeValidator(_parsed)] = None
    input_schema: str | None = None
    output_schema: str | None = None
    filename: str | None = None


class GetModelVersion(Shape):
    """Ask for one model version."""

    model_version_id: Number


class CreatePipeline(Shape):
    """Make a pipeline version; ``pipeline_id`` is the pipeline's name."""

    pipeline_id: str
    workspace_id: Number
    definition: dict[str, Any] | str | None = None


class DeployPipeline(Shape):
    """Run a pipeline version under the name ``deploy_id``.

    ``model_ids``, ``model_configs`` or ``models`` stand in for the steps of a version that has
    none. A version has one configuration, under its own id.
    """

    deploy_id: str
    pipeline_version_pk_id: Number
    pipeline_id: Number | None = None
    engine_config: dict[str, Any] | str | None = None
    model_ids: list[Number] | None = None
    model_configs: list[Number] | None = None
    models: list[dict[str, Any]] | None = None


class UndeployPipeline(Shape):
    """Stop a deployment, named by itself or by its pipeline."""

    pipeline_id: Number | None = None
    deployment_id: Number | None = None


class GetDeployment(Shape):
    """Ask how the deployment at ``{deploy_id}-{id}`` runs."""

    name: str


class GetExternalUrl(Shape):
    """Ask for the inference URL of a pipeline."""

    workspace_id: Number
    pipeline_name: str


class GetLogs(Shape):
    """Ask for a page of a pipeline's inference log; ``pipeline_id`` is the pipeline's name."""

    pipeline_id: str
    workspace_id: Number
    cursor: str | None = None
    order: Literal["Asc", "Desc", "asc", "desc"] = "Desc"
    page_size: Number | None = Field(default=None, description="At most this many rows; 1000")
    start_time: str | None = Field(default=None, description="RFC 3339, together with end_time")
    end_time: str | None = Field(default=None, description="RFC 3339, together with start_time")


class QueryUsers(Shape):
    """Ask for users, those with the ids when ids are given."""

    user_ids: list[str] | None = None
