"""Model uploads: the multipart body streams through a thread into the store, never kept whole.

Sources: seed 001, "Upload Model to Workspace" and "Stream Upload Model to Workspace"; seed 004's
generated curl command. The facts come as one JSON part ``metadata`` or as single form fields.
"""

import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

import anyio.from_thread
import pyarrow as pa
from pydantic import ValidationError
from starlette.types import Message, Receive

from byop.domain.models import Conversion, Framework, ModelVersion, Signature
from byop.domain.users import Principal
from byop.errors import InvalidInputError, InvalidPayloadError, TooLargeError
from byop.server.bodies import ClientGoneError
from byop.server.multipart import Part, read_parts
from byop.server.validation import validation_message
from byop.services.models import ModelService, ModelUpload
from byop.tables.schemas import schema_from_base64
from byop.wire.shapes import ConversionSettings, UploadMetadata

_MAX_FIELD_BYTES = 4 << 20
_COPY_BYTES = 1 << 20
_FORM_FIELDS = frozenset({"name", "filename", "visibility", "workspace_id"})
"""Those of seed 001, "Stream Upload Model to Workspace". Others may still come after the file."""
_FRAMEWORK_BY_SUFFIX = {
    ".onnx": Framework.ONNX,
    ".py": Framework.PYTHON,
    ".zip": Framework.CUSTOM,
}


def body_chunks(receive: Receive) -> Iterator[bytes]:
    """Yield a request's body in a thread that the event loop's thread pool runs.

    Raises:
        ClientGoneError: The client left before the end.
    """

    async def next_message() -> Message:
        return await receive()

    more = True
    while more:
        message = anyio.from_thread.run(next_message)
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        more = message.get("more_body", False)
        if message.get("body"):
            yield message["body"]


@dataclass(frozen=True, slots=True)
class UploadReceiver:
    """Turns a multipart body into a model version.

    ``spool_dir`` takes a file part that comes before its metadata.
    """

    models: ModelService
    spool_dir: Path
    max_upload_bytes: int

    def receive(
        self, principal: Principal, chunks: Iterator[bytes], boundary: bytes
    ) -> ModelVersion:
        """Store the upload and return its version. Blocks while chunks come.

        Raises:
            InvalidInputError: The body or the metadata cannot be read, or the service refuses.
        """
        fields: dict[str, bytes] = {}
        with tempfile.TemporaryFile(dir=self.spool_dir) as spool:
            spooled: str | None = None
            for part in read_parts(chunks, boundary):
                if part.name != "file":
                    fields[part.name] = part.read(_MAX_FIELD_BYTES)
                elif _tell_all(fields):
                    upload = _upload_of(fields, part.file_name)
                    return self.models.upload(principal, upload, part.chunks)
                else:
                    spooled = part.file_name or ""
                    self._spool(part, spool)
            if spooled is None:
                raise InvalidPayloadError("the multipart body has no part 'file'")
            spool.seek(0)
            stored = iter(lambda: spool.read(_COPY_BYTES), b"")
            return self.models.upload(principal, _upload_of(fields, spooled), stored)

    def _spool(self, part: Part, spool: IO[bytes]) -> None:
        size = 0
        for chunk in part.chunks:
            size += len(chunk)
            if size > self.max_upload_bytes:
                raise TooLargeError("uploaded file", self.max_upload_bytes)
            spool.write(chunk)


def _tell_all(fields: Mapping[str, bytes]) -> bool:
    """Return whether the fields that came so far say what the file is, so that it can stream."""
    return "metadata" in fields or fields.keys() >= _FORM_FIELDS


def _upload_of(fields: Mapping[str, bytes], part_file_name: str | None) -> ModelUpload:
    metadata = _metadata(fields)
    settings = metadata.conversion or ConversionSettings()
    names = [name for name in (metadata.filename, part_file_name) if name]
    return ModelUpload(
        name=metadata.name,
        workspace_id=metadata.workspace_id,
        visibility=metadata.visibility,
        file_name=_name_part(names[0]) if names else metadata.name,
        conversion=_conversion(settings, _framework(settings.framework, names)),
        signature=Signature(
            inputs=_schema(metadata.input_schema or settings.input_schema),
            outputs=_schema(metadata.output_schema or settings.output_schema),
        ),
    )


def _metadata(fields: Mapping[str, bytes]) -> UploadMetadata:
    try:
        if "metadata" in fields:
            return UploadMetadata.model_validate_json(fields["metadata"])
        texts = {name: value.decode() for name, value in fields.items()}
        return UploadMetadata.model_validate(texts)
    except ValidationError as error:
        raise InvalidInputError(f"metadata: {validation_message(error.errors())}") from None
    except UnicodeDecodeError:
        raise InvalidInputError("metadata: a field is no UTF-8 text") from None


def _conversion(settings: ConversionSettings, framework: Framework) -> Conversion:
    accel = settings.accel or "none"
    return Conversion(
        framework=framework,
        python_version=settings.python_version or "",
        requirements=tuple(settings.requirements or ()),
        arch=settings.arch or "x86",
        accel=accel if isinstance(accel, str) else json.dumps(accel),
        framework_config=(
            "" if settings.framework_config is None else json.dumps(settings.framework_config)
        ),
    )


def _framework(named: str | None, file_names: list[str]) -> Framework:
    """Return the framework that is named, else the one that a file name's suffix tells."""
    supported = ", ".join(framework.value for framework in Framework)
    if named is not None:
        try:
            return Framework(named.lower())
        except ValueError:
            raise InvalidInputError(
                f"framework {named[:80]!r} is not supported: use one of {supported}"
            ) from None
    for name in file_names:
        found = _FRAMEWORK_BY_SUFFIX.get(PurePosixPath(name).suffix.lower())
        if found is not None:
            return found
    raise InvalidInputError(f"conversion.framework is missing: use one of {supported}")


def _schema(text: str | None) -> pa.Schema | None:
    return schema_from_base64(text) if text else None


def _name_part(path: str) -> str:
    return path.replace("\\", "/").rpartition("/")[2] or path
