"""Models: upload versions, look them up."""

import uuid
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from byop.domain.identifiers import require_dns_label
from byop.domain.models import Conversion, Framework, ModelVersion, Signature, Visibility
from byop.domain.users import Principal
from byop.errors import InvalidArchiveError, InvalidInputError
from byop.ports.blobs import BlobStore
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
    ) -> None:
        self._metadata = metadata
        self._blobs = blobs
        self._conversions = conversions
        self._clock = clock
        self._max_upload_bytes = max_upload_bytes
        self._access = Access(metadata)

    def upload(
        self, principal: Principal, upload: ModelUpload, chunks: Iterable[bytes]
    ) -> ModelVersion:
        """Store the file as a new version and begin its conversion. Blocks while chunks come.

        Raises:
            InvalidNameError: The name is no DNS label.
            NotFoundError: No such workspace for this caller.
            InvalidArchiveError: A zip is expected and the file is none.
            InvalidInputError: The file is empty.
            TooLargeError: The file is over the limit.
        """
        owner = self._access.user(principal)
        workspace = self._access.workspace(principal, upload.workspace_id)
        require_dns_label("model", upload.name)
        framework = upload.conversion.framework
        blob = self._blobs.put(
            chunks,
            limit_bytes=self._max_upload_bytes,
            check=_file_check(framework, upload.file_name),
        )
        version = self._metadata.models.add_version(
            name=upload.name,
            workspace_id=workspace.id,
            owner=owner,
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


def _file_check(framework: Framework, file_name: str) -> Callable[[Path], None]:
    def check(path: Path) -> None:
        if path.stat().st_size == 0:
            raise InvalidInputError("the uploaded file is empty")
        if is_packed(framework, file_name) and not zipfile.is_zipfile(path):
            raise InvalidArchiveError

    return check
