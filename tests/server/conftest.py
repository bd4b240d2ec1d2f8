"""A served application on a free port, over fakes."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
import requests
import uvicorn
from starlette.types import ASGIApp

from byop.server.app import create_app
from byop.server.http_protocol import bounded_protocol
from byop.settings import Settings
from tests.fakes.services import USER_TOKEN, FakeServices

INFER_PATH = "/v1/api/pipelines/infer/chat-5/chat"


class Server:
    """uvicorn in a thread, as ``byop serve`` runs it in a process."""

    def __init__(self, app: ASGIApp, settings: Settings | None = None) -> None:
        config = uvicorn.Config(
            app,
            port=0,
            loop="uvloop",
            http=bounded_protocol(settings or Settings()),
            ws="none",
            lifespan="on",
            log_config=None,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run)

    def start(self) -> str:
        """Return the URL."""
        self._thread.start()
        deadline = time.monotonic() + 20
        while not self._server.started:
            assert self._thread.is_alive(), "the server did not start"
            assert time.monotonic() < deadline
            time.sleep(0.005)
        port = self._server.servers[0].sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{port}"

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive()


@dataclass
class Api:
    """A client of the served application, logged in as a user."""

    url: str
    fakes: FakeServices
    session: requests.Session = field(default_factory=requests.Session)

    def post(
        self,
        path: str,
        *,
        json: object = None,
        data: object = None,
        files: object = None,
        headers: Mapping[str, str | None] | None = None,
    ) -> requests.Response:
        return self.session.post(
            f"{self.url}{path}",
            json=json,
            data=cast("Any", data),
            files=cast("Any", files),
            headers={"Authorization": f"Bearer {USER_TOKEN}", **(headers or {})},
            timeout=30,
        )

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> requests.Response:
        return self.session.get(f"{self.url}{path}", headers=headers, timeout=30)


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    home: Path = tmp_path_factory.mktemp("home")
    return Settings(home=home, max_request_bytes=1 << 20, max_upload_bytes=64 << 20)


@pytest.fixture(scope="module")
def served(settings: Settings) -> Iterator[Api]:
    fakes = FakeServices()
    api = Api("", fakes)
    app = create_app(
        fakes.wired(),
        settings=settings,
        open=fakes.open,
        close=fakes.close,
        check_ready=fakes.check_ready,
    )
    server = Server(app, settings)
    api.url = server.start()
    yield api
    api.session.close()
    server.stop()


@pytest.fixture
def api(served: Api) -> Api:
    """The module's server, with fakes that remember nothing."""
    served.fakes.forget()
    return served


@pytest.fixture
def wait_until() -> Callable[[Callable[[], bool]], None]:
    def wait(is_so: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 10
        while not is_so():
            assert time.monotonic() < deadline
            time.sleep(0.005)

    return wait
