"""Model uploads: the multipart body streams into the store, never kept whole.

Sources: seed 001, "Upload Model to Workspace" and "Stream Upload Model to Workspace"; seed 004's
generated curl command. The facts come as one JSON part ``metadata`` or as single form fields,
before the file or after it.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import PurePosixPath

import pyarrow as pa
from anyio import CancelScope, CapacityLimiter, to_thread
from pydantic import ValidationError
from starlette.types import Receive

from byop.domain.models import Conversion, Framework, ModelVersion, Signature
from byop.domain.users import Principal
from byop.errors import InvalidInputError, InvalidPayloadError, OverloadedError, TooLargeError
from byop.json_text import read_json
from byop.ports.blobs import IncomingBlob
from byop.server.bodies import ClientGoneError
from byop.server.multipart import MultipartReader, PartHead, PartSink
from byop.server.validation import validation_message
from byop.services.models import ModelService, ModelUpload
from byop.tables.schemas import schema_from_base64
from byop.wire.shapes import ConversionSettings, UploadMetadata

OVERHEAD_BYTES = 8 << 20
"""What a body may have beside its file."""

_MAX_FIELDS_BYTES = 4 << 20
_BATCH_BYTES = 1 << 20
"""What one upload holds in memory while it waits for the disk, beside what the socket holds."""

_FORM_FIELDS = frozenset({"name", "filename", "visibility", "workspace_id"})
"""Those of seed 001, "Stream Upload Model to Workspace". Others may still come after the file."""
_FRAMEWORK_BY_SUFFIX = {
    ".onnx": Framework.ONNX,
    ".py": Framework.PYTHON,
    ".zip": Framework.CUSTOM,
}


class UploadSlots:
    """How many uploads run at once: each holds up to 5 MiB while it waits for its client."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken = 0

    @contextmanager
    def take(self) -> Iterator[None]:
        """Take one for the block.

        Raises:
            OverloadedError: All are taken.
        """
        if self._taken >= self._limit:
            raise OverloadedError("the server", self._limit, "uploads at once")
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1


class UploadReceiver:
    """Turns the pieces of one multipart body into a model version. ``close`` must come last."""

    def __init__(
        self, models: ModelService, principal: Principal, boundary: bytes, *, max_upload_bytes: int
    ) -> None:
        self._models = models
        self._principal = principal
        self._max_upload_bytes = max_upload_bytes
        self._left_bytes = max_upload_bytes + OVERHEAD_BYTES
        self._reader = MultipartReader(boundary, self._open_part)
        self._fields: dict[str, bytearray] = {}
        self._file: IncomingBlob | None = None
        self._file_name: str | None = None

    def feed(self, chunks: Iterable[bytes]) -> None:
        """Take the next bytes of the body. Writes to the disk.

        Raises:
            InvalidInputError: The body or its metadata cannot be read, or the service refuses.
            StorageUnavailableError: The disk refuses, or is full.
        """
        for chunk in chunks:
            self._left_bytes -= len(chunk)
            if self._left_bytes < 0:
                raise TooLargeError("uploaded file", self._max_upload_bytes)
            self._reader.feed(chunk)

    def finish(self) -> ModelVersion:
        """Store the file and return its version. Reads a zip whole; raises as ``feed``."""
        self._reader.finish()
        if self._file is None:
            raise InvalidPayloadError("the multipart body has no part 'file'")
        upload = _upload_of(self._read_fields(), self._file_name)
        return self._models.finish_upload(self._principal, upload, self._file)

    def close(self) -> None:
        """Remove what was not stored."""
        if self._file is not None:
            self._file.discard()

    def _open_part(self, head: PartHead) -> PartSink:
        if head.name == "file":
            return self._open_file(head.file_name)
        if head.name in self._fields:
            raise InvalidPayloadError(f"the body has the part {head.name[:80]!r} twice")
        field = self._fields[head.name] = bytearray()

        def add(data: bytes) -> None:
            field.extend(data)
            if sum(map(len, self._fields.values())) > _MAX_FIELDS_BYTES:
                raise TooLargeError("the metadata of an upload", _MAX_FIELDS_BYTES)

        return add

    def _open_file(self, file_name: str | None) -> PartSink:
        """Refuse early what the fields so far show to be wrong: the file may be large."""
        if self._file is not None:
            raise InvalidPayloadError("the body has the part 'file' twice")
        if _tell_all(self._fields):
            self._models.check_upload(self._principal, _upload_of(self._read_fields(), file_name))
        self._file_name = file_name
        self._file = self._models.begin_upload()
        return self._file.write

    def _read_fields(self) -> dict[str, bytes]:
        return {name: bytes(value) for name, value in self._fields.items()}


async def receive_upload(
    receive: Receive,
    receiver: UploadReceiver,
    *,
    writers: CapacityLimiter,
    checkers: CapacityLimiter,
) -> ModelVersion:
    """Read a request's body into ``receiver`` and return the version that it stored.

    No thread waits for a client. ``writers`` bounds the threads that write, ``checkers`` those that
    read whole zips.

    Raises:
        ClientGoneError: The client left before the end.
    """
    try:
        more = True
        while more:
            batch, more = await _next_batch(receive)
            await to_thread.run_sync(receiver.feed, batch, limiter=writers)
        return await to_thread.run_sync(receiver.finish, limiter=checkers)
    finally:
        # In a thread, and also when the request is cancelled: a large file takes long to remove.
        with CancelScope(shield=True):
            await to_thread.run_sync(receiver.close, limiter=writers)


async def _next_batch(receive: Receive) -> tuple[list[bytes], bool]:
    """Return the next bytes of the body, and whether more come."""
    batch: list[bytes] = []
    size = 0
    while size < _BATCH_BYTES:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        batch.append(message.get("body", b""))
        size += len(batch[-1])
        if not message.get("more_body", False):
            return batch, False
    return batch, True


def _tell_all(fields: Collection[str]) -> bool:
    """Return whether the fields that came so far say what the file is."""
    return "metadata" in fields or _FORM_FIELDS.issubset(fields)


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
            return UploadMetadata.model_validate(read_json(fields["metadata"]))
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
