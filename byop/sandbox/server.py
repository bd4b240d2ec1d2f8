"""The stand-in as a running server."""

import socket
from secrets import token_hex
from threading import Event, Thread
from types import TracebackType
from typing import Self

import uvicorn

from byop.errors import SettingsInvalidError
from byop.sandbox.openai_app import OpenAiApp
from byop.sandbox.recording import RecordedRequest, Recorder
from byop.sandbox.script import Script

_STOP_TIMEOUT_S = 10
_BACKLOG = 2048


class Sandbox:
    """A local server that speaks the OpenAI protocol. As a context manager it runs in a thread.

    Args:
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one, known as soon as the object is made.
        api_key: The key that clients must send; None makes one up.
        script: Prompts with an answer of their own.
        latency_s: Wait before every answer.
        keep_requests: How many requests ``requests`` remembers.

    Raises:
        SettingsInvalidError: The port cannot be listened on.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        api_key: str | None = None,
        script: Script | None = None,
        latency_s: float = 0.0,
        keep_requests: int = 1000,
    ) -> None:
        self.api_key = api_key or f"sk-sandbox-{token_hex(16)}"
        self._recorder = Recorder(keep_requests)
        self._ready = Event()
        self._thread: Thread | None = None
        self._listener = _listen(host, port)
        self.base_url = f"http://{_bracketed(host)}:{self._listener.getsockname()[1]}/v1"
        app = OpenAiApp(
            api_key=self.api_key,
            script=script or Script(),
            latency_s=latency_s,
            recorder=self._recorder,
            on_ready=self._ready.set,
        )
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                loop="uvloop",
                http="httptools",
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=1,
            )
        )

    @property
    def requests(self) -> list[RecordedRequest]:
        """The last requests, oldest first, without their keys."""
        return self._recorder.requests()

    def run(self) -> None:
        """Serve in this thread until SIGINT or SIGTERM, or until ``stop``."""
        try:
            self._server.run(sockets=[self._listener])
        finally:
            self._listener.close()
            self._ready.set()

    def start(self) -> None:
        """Serve in a thread of its own; returns once requests are answered."""
        self._thread = Thread(target=self.run, name="byop-sandbox", daemon=True)
        self._thread.start()
        self._ready.wait()

    def stop(self) -> None:
        """End the server and wait until its thread is gone."""
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(_STOP_TIMEOUT_S)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise SettingsInvalidError("port", f"cannot listen on {host}:{port}: {error}") from None
    return listener


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
