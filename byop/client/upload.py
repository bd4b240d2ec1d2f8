"""Uploads: a model file and its metadata as one multipart body, read from disk as it is sent."""

import shlex
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

import orjson
import pyarrow as pa

from byop.client.answers import int_at
from byop.client.api import Api, Call
from byop.client.progress import show_upload
from byop.errors import ApiError, InvalidInputError
from byop.tables.schemas import schema_to_base64

UPLOAD_PATH = "/v1/api/models/upload_and_convert"


@dataclass(frozen=True, slots=True)
class Upload:
    """What goes along with a model file (reference/wallaroo-sdk.md 2.2).

    ``python_version`` is what the model was written for; None leaves it open.
    """

    name: str
    workspace_id: int
    framework: str
    input_schema: pa.Schema | None = None
    output_schema: pa.Schema | None = None
    visibility: str = "private"
    requirements: Sequence[str] = ()
    python_version: str | None = None
    arch: str = "x86"
    accel: str = "none"

    def metadata(self) -> dict[str, object]:
        """Return the JSON object of the ``metadata`` part."""
        conversion: dict[str, object] = {
            "arch": self.arch,
            "accel": self.accel,
            "framework": self.framework,
            "requirements": list(self.requirements),
        }
        if self.python_version is not None:
            conversion["python_version"] = self.python_version
        metadata: dict[str, object] = {
            "name": self.name,
            "visibility": self.visibility,
            "workspace_id": self.workspace_id,
            "conversion": conversion,
        }
        for key, schema in (
            ("input_schema", self.input_schema),
            ("output_schema", self.output_schema),
        ):
            if schema is not None:
                metadata[key] = schema_to_base64(schema)
        return metadata


def send_upload(api: Api, upload: Upload, path: Path) -> int:
    """Upload the file and return the id of the new model version. Shows a bar.

    Raises:
        InvalidInputError: There is no such file.
        InvalidArchiveError: The server says that it is no zip.
    """
    if not path.is_file():
        raise InvalidInputError(f"there is no file {str(path)!r} to upload")
    size_bytes = path.stat().st_size
    with show_upload(upload.name, size_bytes) as show, path.open("rb") as file:
        body = MultipartFile(upload.metadata(), file, path.name, size_bytes, show)
        # The limit is on each wait for the socket, the last of which is for the server to check
        # and store the file.
        answer = api.send(
            Call(UPLOAD_PATH, body, content_type=body.content_type),
            timeout_s=max(api.timeout_s, 300.0),
        )
    try:
        stored = orjson.loads(answer.content)
    except ValueError:
        raise ApiError(f"{UPLOAD_PATH} answered no JSON") from None
    return int_at(stored, "insert_models", "returning", 0, "models", 0, "id")


class MultipartFile:
    """A ``multipart/form-data`` body of ``metadata`` and ``file``, never whole in memory.

    ``show`` is called with the bytes of the file that were read so far.
    """

    def __init__(
        self,
        metadata: dict[str, object],
        file: BinaryIO,
        file_name: str,
        size_bytes: int,
        show: Callable[[int], None],
    ) -> None:
        boundary = uuid.uuid4().hex
        self.content_type = f"multipart/form-data; boundary={boundary}"
        self._head = _head(boundary, metadata, file_name)
        self._tail = f"\r\n--{boundary}--\r\n".encode()
        self._file = file
        self._size_bytes = size_bytes
        self._show = show
        self._pending = self._head
        self._sent = 0
        self._is_file_read = False

    def __len__(self) -> int:
        return len(self._head) + self._size_bytes + len(self._tail)

    def read(self, size: int = -1) -> bytes:
        """Return up to ``size`` bytes, everything when it is negative."""
        while (size < 0 or len(self._pending) < size) and not self._is_file_read:
            self._pull(size)
        end = len(self._pending) if size < 0 else size
        block, self._pending = self._pending[:end], self._pending[end:]
        return block

    def rewind(self) -> None:
        """Begin again, for a second attempt."""
        self._file.seek(0)
        self._pending = self._head
        self._sent = 0
        self._is_file_read = False

    def _pull(self, size: int) -> None:
        block = self._file.read(size if size < 0 else size - len(self._pending))
        self._sent += len(block)
        self._show(self._sent)
        self._is_file_read = not block or size < 0
        self._pending += block + (self._tail if self._is_file_read else b"")

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        block = self.read(1 << 18)
        if not block:
            raise StopIteration
        return block


def curl_command(base_url: str, upload: Upload, path: str, token: str) -> str:
    """Return a shell command that does the same upload (seed 004)."""
    metadata = orjson.dumps(upload.metadata()).decode()
    arguments = [
        *("curl", "--progress-bar", "-X", "POST"),
        *("-H", "Content-Type: multipart/form-data"),
        *("-H", f"Authorization: Bearer {token}"),
        *("-F", f"metadata={metadata};type=application/json"),
        *("-F", f"file=@{path};type=application/octet-stream"),
        base_url.rstrip("/") + UPLOAD_PATH,
    ]
    return shlex.join(arguments)


def _head(boundary: str, metadata: dict[str, object], file_name: str) -> bytes:
    quoted = file_name.replace("\\", "\\\\").replace('"', "%22").replace("\r", "").replace("\n", "")
    return b"".join(
        (
            f"--{boundary}\r\n".encode(),
            b'Content-Disposition: form-data; name="metadata"\r\n',
            b"Content-Type: application/json\r\n\r\n",
            orjson.dumps(metadata),
            f"\r\n--{boundary}\r\n".encode(),
            f'Content-Disposition: form-data; name="file"; filename="{quoted}"\r\n'.encode(),
            b"Content-Type: application/octet-stream\r\n\r\n",
        )
    )
