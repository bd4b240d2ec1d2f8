"""Models: upload versions, look them up."""

import uuid
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from byop.bundle.archive_limits import DEFAULT_LIMITS, ArchiveLimits
from byop.bundle.archive_reader import check_archive
from byop.domain.identifiers import WorkspaceId, require_dns_label
from byop.domain.models import Conversion, Framework, ModelVersion, Signature, Visibility
from byop.domain.users import Principal
from byop.errors import InvalidInputError
from byop.ports.blobs import BlobStore, IncomingBlob
from byop.ports.clock import Clock
from byop.ports.metadata import MetadataStore
from byop.services.access import Access
from byop.services.conversions import Conversions, pending
from byop.services.model_files import is_packed


@dataclass(frozen=True, slots=True)
class ModelUpload:
    """What an upload says of its file. ``file_name`` is the name part of the caller's path."""

    name: str
    workspace_id: int
    visibility: Visibility
    file_name: str
    conversion: Conversion
    signature: Signature


class ModelService:
    """Use cases on models."""

    def __init__(
        self,
        *,
        metadata: MetadataStore,
        blobs: BlobStore,
        conversions: Conversions,
        clock: Clock,
        max_upload_bytes: int,
        archive_limits: ArchiveLimits = DEFAULT_LIMITS,
    ) -> None:
        self._metadata = metadata
        self._blobs = blobs
        self._conversions = conversions
        self._clock = clock
        self._max_upload_bytes = max_upload_bytes
        self._archive_limits = archive_limits
        self._access = Access(metadata)

    def check_upload(self, principal: Principal, upload: ModelUpload) -> None:
        """Make sure, before the file comes, that the caller may upload this.

        Raises:
            InvalidNameError: The name is no DNS label.
            NotFoundError: No such workspace for this caller.
        """
        self._access.user(principal)
        self._access.workspace(principal, upload.workspace_id)
        require_dns_label("model", upload.name)

    def begin_upload(self) -> IncomingBlob:
        """Return where the file's bytes go. The caller discards it at last.

        Raises:
            StorageUnavailableError: The disk refuses, or is full.
        """
        return self._blobs.begin(limit_bytes=self._max_upload_bytes)

    def finish_upload(
        self, principal: Principal, upload: ModelUpload, file: IncomingBlob
    ) -> ModelVersion:
        """Store the whole file as a new version and begin its conversion. Reads a zip whole.

        Raises:
            InvalidNameError: The name is no DNS label.
            NotFoundError: No such workspace for this caller.
            InvalidArchiveError: A zip is expected and the file is none that can be unpacked.
            InvalidInputError: The file is empty.
            StorageUnavailableError: The disk refuses, or is full.
        """
        self.check_upload(principal, upload)
        framework = upload.conversion.framework
        blob = file.commit(partial(self._check_file, framework, upload.file_name))
        version = self._metadata.models.add_version(
            name=upload.name,
            workspace_id=WorkspaceId(upload.workspace_id),
            owner=self._access.user(principal),
            visibility=upload.visibility,
            version=str(uuid.uuid4()),
            sha=blob.sha,
            file_name=upload.file_name,
            size_bytes=blob.size_bytes,
            conversion=upload.conversion,
            signature=upload.signature,
            status=pending(framework),
            created_at=self._clock.now(),
        )
        self._conversions.begin(version)
        return version

    def get_version(self, principal: Principal, version_id: int) -> ModelVersion:
        """Return a model version of the caller's workspaces, or a public one.

        Raises:
            NotFoundError: There is none, or not for this caller.
        """
        return self._access.model_version(principal, version_id)

    def _check_file(self, framework: Framework, file_name: str, path: Path) -> None:
        if path.stat().st_size == 0:
            raise InvalidInputError("the uploaded file is empty")
        if is_packed(framework, file_name):
            needs_python = framework is not Framework.ONNX
            check_archive(path, self._archive_limits, needs_python=needs_python)
