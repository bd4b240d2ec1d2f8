"""A real server with a model that answers what it is asked, and requests sent to it as they are."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow as pa
import requests

from byop.client import DeploymentConfigBuilder, Framework
from tests.acceptance.projects import pack_project
from tests.fakes.servers import RunningServer, running_server

ARROW_FILE = "application/vnd.apache.arrow.file"
SCHEMA = pa.schema(
    [
        pa.field("text", pa.string()),
        pa.field("id", pa.int64()),
        pa.field("score", pa.float64()),
        pa.field("tensor", pa.list_(pa.float32(), 2)),
    ]
)
ROW = {"text": "a", "id": 1, "score": 0.5, "tensor": [1.0, 2.0]}


@dataclass
class Target:
    """What is attacked: a server, and the path at which its echo infers."""

    server: RunningServer
    infer_path: str
    token: str
    session: requests.Session = field(default_factory=requests.Session)

    @property
    def address(self) -> tuple[str, int]:
        """Return host and port."""
        parts = urlsplit(self.server.url)
        return str(parts.hostname), int(parts.port or 0)

    def post(
        self, path: str, body: bytes, headers: Mapping[str, str | None] | None = None
    ) -> requests.Response:
        """Send the bytes as JSON, unless the headers say otherwise."""
        return self.session.post(
            self.server.url + path,
            data=body,
            headers={
                "Authorization": f"Bearer {self.token}",
                "Content-Type": "application/json",
                **(headers or {}),
            },
            timeout=60,
        )

    def infer(self, body: bytes, headers: Mapping[str, str | None] | None = None) -> "Answer":
        """Infer on the bytes."""
        return answer_of(self.post(self.infer_path, body, headers))

    def infer_arrow(self, body: bytes | pa.Buffer) -> "Answer":
        """Infer on the bytes of an Arrow file or stream; the answer is JSON."""
        headers = {"Content-Type": ARROW_FILE, "Accept": "application/json"}
        return self.infer(bytes(body), headers)

    def manage(self, path: str, body: bytes, headers: Mapping[str, str] | None = None) -> "Answer":
        """Call a management route below ``/v1/api/``."""
        return answer_of(self.post(f"/v1/api/{path}", body, headers))

    def upload(self, metadata: bytes, content: bytes = b"PK") -> "Answer":
        """Upload with metadata as they are."""
        return answer_of(
            self.session.post(
                f"{self.server.url}/v1/api/models/upload_and_convert",
                headers={"Authorization": f"Bearer {self.token}"},
                files={
                    "metadata": (None, metadata, "application/json"),
                    "file": ("model.zip", content, "application/octet-stream"),
                },
                timeout=60,
            )
        )

    def require_serving(self) -> None:
        """Check that a good request is answered."""
        answer = self.infer(json.dumps([ROW]).encode())
        assert answer.status == 200, answer
        assert answer.rows()[0]["out"] == ROW


@dataclass(frozen=True)
class Answer:
    """A status, the problem's type (empty for none), and the body."""

    status: int
    kind: str
    text: str

    def rows(self) -> list[dict[str, dict[str, object]]]:
        """Return the records of an inference."""
        records: list[dict[str, dict[str, object]]] = json.loads(self.text)
        return records


def answer_of(response: requests.Response) -> Answer:
    """Return what came; an error that is no problem in the envelope fails the test."""
    if response.status_code < 400:
        return Answer(response.status_code, "", response.text)
    problem = response.json()
    assert problem["code"] == response.status_code
    return Answer(response.status_code, str(problem["type"]), response.text)


@contextmanager
def running_target(folder: Path) -> Iterator[Target]:
    """Give a server on which an echo of ``SCHEMA`` is deployed."""
    with running_server(folder / "home", {"BYOP_MAX_DECODED_BYTES": str(256 << 20)}) as server:
        client = server.client()
        archive = pack_project(folder, "echo", predict="return dict(input_data)")
        model = client.upload_model("echo", archive, Framework.CUSTOM, SCHEMA, SCHEMA)
        config = DeploymentConfigBuilder().cpus(1).memory("1GiB").build()
        pipeline = client.build_pipeline("echo").add_model_step(model).deploy(config, "echo")
        path = urlsplit(pipeline.url()).path
        client.close()
        target = Target(server, path, server.token())
        yield target
        target.session.close()
