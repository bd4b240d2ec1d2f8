"""``byop serve``: the server."""

import socket
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from typing_extensions import override

from byop.cli.problems import problem_exit
from byop.errors import SettingsInvalidError
from byop.settings import Settings, load_settings


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(serve)


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.")] = None,
    home: Annotated[Path | None, typer.Option(help="Data directory.")] = None,
) -> None:
    """Start the server. Settings come from BYOP_* variables; options win over them."""
    with problem_exit():
        settings = load_settings()
        given = {"host": host, "port": port, "home": home}
        settings = replace(settings, **{k: v for k, v in given.items() if v is not None})
        _keep_pandas_out()
        run_server(settings)


def run_server(settings: Settings) -> None:
    """Serve until SIGINT or SIGTERM, then drain."""
    import uvicorn  # noqa: PLC0415 - the other commands start without it

    from byop.bootstrap import build_app, build_gateway  # noqa: PLC0415 - as above
    from byop.server.event_log import configure_logging  # noqa: PLC0415 - as above

    class AnnouncingServer(uvicorn.Server):
        """Says where it listens once it does."""

        @override
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets=sockets)
            if self.started:
                print(f"byop is ready at {address} (API documentation: {address}/v1/api/docs)")
                sys.stdout.flush()

    configure_logging(settings.log_level)
    listener = _listen(settings.host, settings.port)
    address = f"http://{settings.host}:{listener.getsockname()[1]}"
    config = uvicorn.Config(
        build_app(build_gateway(settings)),
        loop="uvloop",
        http="httptools",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=int(settings.drain_s),
    )
    AnnouncingServer(config).run(sockets=[listener])


def _listen(host: str, port: int) -> socket.socket:
    """Return a bound socket, so that port 0 has its number before the server starts."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        raise SettingsInvalidError(
            "BYOP_PORT", f"cannot listen on {host}:{port}: {error}"
        ) from None
    return listener


def _keep_pandas_out() -> None:
    """Make ``import pandas`` fail in this process: pyarrow imports it, 60 MiB, when it is there."""
    sys.modules["pandas"] = None  # type: ignore[assignment]
