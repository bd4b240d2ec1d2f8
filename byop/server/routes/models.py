"""Models: uploads and versions (seed 001, "Model Management"; reference/wallaroo-sdk.md 2.2)."""

from fastapi import APIRouter, Request

from byop.domain.models import Framework, ModelVersion
from byop.errors import TooLargeError
from byop.server.auth import Caller, Configured, Wired
from byop.server.multipart import boundary_of
from byop.server.uploads import OVERHEAD_BYTES, UploadReceiver, receive_upload
from byop.tables.schemas import schema_to_base64
from byop.wire.answers import (
    ConversionInfo,
    FileInfo,
    InsertedModels,
    ModelConfigInfo,
    ModelUploaded,
    ModelVersionAnswer,
    ModelVersionDetails,
    ModelVersionInfo,
    UploadedModels,
    UploadedVersion,
)
from byop.wire.shapes import GetModelVersion

PREFIX = "/v1/api/models"
UPLOAD_PATHS = frozenset(
    f"{PREFIX}/{name}" for name in ("upload", "upload_and_convert", "upload_stream")
)

_RUNTIMES = {Framework.ONNX: "onnx", Framework.PYTHON: "python", Framework.CUSTOM: "flight"}
_UPLOAD_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["metadata", "file"],
                    "properties": {
                        "metadata": {
                            "type": "string",
                            "contentMediaType": "application/json",
                            "description": "Object with name, visibility, workspace_id, conversion "
                            "(framework, python_version, requirements), input_schema and "
                            "output_schema (base64 of Arrow's serialized form)",
                        },
                        "file": {"type": "string", "contentMediaType": "application/octet-stream"},
                    },
                }
            }
        },
    }
}

router = APIRouter(prefix=PREFIX, tags=["models"])


@router.post("/upload_and_convert", summary="Upload a model", openapi_extra=_UPLOAD_BODY)
@router.post("/upload", summary="Upload a model of a native runtime", openapi_extra=_UPLOAD_BODY)
@router.post("/upload_stream", summary="Upload a model with form fields")
async def upload_model(
    request: Request, caller: Caller, services: Wired, settings: Configured
) -> ModelUploaded:
    """Store the file part as a new version and begin its conversion."""
    limit = settings.max_upload_bytes
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit + OVERHEAD_BYTES:
        raise TooLargeError("uploaded file", limit)
    boundary = boundary_of(request.headers.get("content-type"))
    receiver = UploadReceiver(services.models, caller, boundary, max_upload_bytes=limit)
    state = request.app.state
    with state.upload_slots.take():
        version = await receive_upload(
            request.receive, receiver, writers=state.uploads, checkers=state.upload_checks
        )
    uploaded = UploadedModels(models=[UploadedVersion(id=version.id)])
    return ModelUploaded(insert_models=InsertedModels(returning=[uploaded]))


@router.post("/get_version_by_id", summary="Look a model version up")
def get_model_version(caller: Caller, services: Wired, body: GetModelVersion) -> ModelVersionAnswer:
    """Return the version, its status and its configuration."""
    version = services.models.get_version(caller, body.model_version_id)
    details = ModelVersionDetails(model_version=_info(version), config=_config(version))
    return ModelVersionAnswer(model_version=details)


def _info(version: ModelVersion) -> ModelVersionInfo:
    return ModelVersionInfo(
        id=version.id,
        name=version.name,
        visibility=version.visibility.value,
        workspace_id=version.workspace_id,
        conversion=_conversion(version),
        status=version.status.value,
        task_id=None,
        file_info=FileInfo(
            version=version.version,
            sha=version.sha,
            file_name=version.file_name,
            size=version.size_bytes,
        ),
        error_summary=version.error_summary,
        warnings=list(version.warnings),
        created_by=version.owner_id,
        created_at=version.created_at.isoformat(),
        updated_at=version.updated_at.isoformat(),
        model_id=version.name,
        model_version=version.version,
        models_pk_id=version.model_id,
        owner_id=version.owner_id,
        sha=version.sha,
        file_name=version.file_name,
    )


def _conversion(version: ModelVersion) -> ConversionInfo:
    return ConversionInfo(
        framework=version.conversion.framework.value,
        python_version=version.conversion.python_version,
        requirements=list(version.conversion.requirements),
        arch=version.conversion.arch,
        accel=version.conversion.accel,
        framework_config=version.conversion.framework_config,
    )


def _config(version: ModelVersion) -> ModelConfigInfo:
    inputs, outputs = version.signature.inputs, version.signature.outputs
    return ModelConfigInfo(
        id=version.id,
        model_version_id=version.id,
        runtime=_RUNTIMES[version.conversion.framework],
        input_schema=None if inputs is None else schema_to_base64(inputs),
        output_schema=None if outputs is None else schema_to_base64(outputs),
        created_at=version.created_at.isoformat(),
        updated_at=version.updated_at.isoformat(),
    )
