"""A running server to upload to, and what lies on its disk."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import requests

from tests.fakes.servers import RunningServer, running_server

UPLOAD_PATH = "/v1/api/models/upload_and_convert"


@dataclass
class UploadSite:
    """A server, and a session of its administrator."""

    server: RunningServer
    workspace_id: int
    session: requests.Session = field(default_factory=requests.Session)

    def upload(
        self, content: bytes, *, framework: str = "custom", name: str = "m"
    ) -> requests.Response:
        metadata = {
            "name": name,
            "visibility": "private",
            "workspace_id": self.workspace_id,
            "conversion": {"framework": framework},
        }
        parts: dict[str, tuple[str | None, str | bytes, str]] = {
            "metadata": (None, json.dumps(metadata), "application/json"),
            "file": (f"{name}.zip", content, "application/octet-stream"),
        }
        return self.session.post(self.server.url + UPLOAD_PATH, files=parts, timeout=120)

    def files(self) -> dict[str, int]:
        """Return every file that uploads may have made, with its size."""
        home = self.server.home
        return {
            str(path): path.stat().st_size
            for folder in ("blobs", "models")
            for path in home.joinpath(folder).rglob("*")
            if path.is_file()
        }

    @contextmanager
    def growth(self, *, below_bytes: int) -> Iterator[None]:
        """Make sure that the server's memory grows by less than that, at its highest."""
        with suppress(PermissionError):  # without it, growth counts from the highest so far
            Path(f"/proc/{self.server.pid}/clear_refs").write_text("5")
        before = self._memory_bytes("VmHWM")
        yield
        assert self._memory_bytes("VmHWM") - before < below_bytes

    def _memory_bytes(self, name: str) -> int:
        status = Path(f"/proc/{self.server.pid}/status").read_text()
        (line,) = (line for line in status.splitlines() if line.startswith(f"{name}:"))
        return int(line.split()[1]) << 10


@contextmanager
def open_site(home: Path, isolation: str) -> Iterator[UploadSite]:
    """Give a site over a new server."""
    with running_server(home, {"BYOP_ISOLATION": isolation}) as server:
        workspace_id = server.client().get_current_workspace().id()
        site = UploadSite(server, workspace_id)
        site.session.headers["Authorization"] = f"Bearer {server.token()}"
        with site.session:
            yield site
