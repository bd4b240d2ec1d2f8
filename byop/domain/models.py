"""Models and their versions."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import pyarrow as pa

from byop.domain.identifiers import ModelId, ModelVersionId, UserId, WorkspaceId


class Framework(StrEnum):
    """What a model file is. Values are the documents' (reference/wallaroo-sdk.md 2.3)."""

    ONNX = "onnx"
    PYTHON = "python"
    CUSTOM = "custom"

    @property
    def is_native(self) -> bool:
        """Whether the model loads without credentials, so that an upload can try it at once."""
        return self is not Framework.CUSTOM


class ModelStatus(StrEnum):
    """Life of a version, in order; ``ready`` and ``error`` are final (reference 2.2)."""

    UPLOADING = "uploading"
    PENDING_LOAD_NATIVE = "pending_load_native"
    ATTEMPTING_LOAD_NATIVE = "attempting_load_native"
    PENDING_LOAD_CONTAINER = "pending_load_container"
    ATTEMPTING_LOAD_CONTAINER = "attempting_load_container"
    READY = "ready"
    ERROR = "error"

    @property
    def is_final(self) -> bool:
        """Whether the status will not change any more."""
        return self in (ModelStatus.READY, ModelStatus.ERROR)


class Visibility(StrEnum):
    """Who may read and use a model."""

    PUBLIC = "public"
    PRIVATE = "private"


@dataclass(frozen=True, slots=True)
class Signature:
    """What a model takes and gives. None where nobody declared it: then types are inferred."""

    inputs: pa.Schema | None = None
    outputs: pa.Schema | None = None


@dataclass(frozen=True, slots=True)
class Conversion:
    """The ``conversion`` object of an upload, as given.

    ``requirements`` are added to those in the zip; ``python_version`` is recorded and never
    obeyed; ``framework_config`` is kept as the JSON text that came.
    """

    framework: Framework
    python_version: str = ""
    requirements: tuple[str, ...] = ()
    arch: str = "x86"
    accel: str = "none"
    framework_config: str = ""


@dataclass(frozen=True, slots=True)
class Model:
    """A name in a workspace under which versions are uploaded."""

    id: ModelId
    name: str
    workspace_id: WorkspaceId
    owner_id: UserId
    visibility: Visibility
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One uploaded file. ``version`` is a UUID; ``sha`` the file's sha256 in hex.

    ``error_summary`` is set when ``status`` is error; ``warnings`` may be there in any status.
    ``environment_key`` names the built environment once the version is ready.
    """

    id: ModelVersionId
    model_id: ModelId
    name: str
    workspace_id: WorkspaceId
    owner_id: UserId
    version: str
    sha: str
    file_name: str
    size_bytes: int
    visibility: Visibility
    conversion: Conversion
    signature: Signature
    status: ModelStatus
    created_at: datetime
    updated_at: datetime
    error_summary: str | None = None
    warnings: tuple[str, ...] = ()
    environment_key: str | None = None


@dataclass(frozen=True, slots=True)
class ModelReference:
    """How a pipeline step names a model version: all three must agree."""

    name: str
    version: str
    sha: str
