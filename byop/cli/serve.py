"""``byop serve``: the server."""

import gc
import resource
import signal
import socket
import sys
from contextlib import suppress
from dataclasses import replace
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from typing_extensions import override

from byop.cli.private_process import keep_memory_private, secrets_of
from byop.cli.problems import exit_on_error
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
    with exit_on_error():
        settings = load_settings()
        settings = replace(
            settings,
            host=settings.host if host is None else host,
            port=settings.port if port is None else port,
            home=settings.home if home is None else home.expanduser().absolute(),
        )
        _keep_pandas_out()
        run_server(settings)


def run_server(settings: Settings) -> None:
    """Serve until a signal, then drain."""
    import uvicorn  # noqa: PLC0415 - the other commands start without it

    from byop.bootstrap import build_app, build_gateway  # noqa: PLC0415 - as above
    from byop.cli.draining_server import DrainingServer, stop_signals  # noqa: PLC0415 - as above
    from byop.engine.masking import Masker  # noqa: PLC0415 - as above
    from byop.server.event_log import configure_logging  # noqa: PLC0415 - as above
    from byop.server.http_protocol import bounded_protocol  # noqa: PLC0415 - as above

    keep_memory_private()
    _allow_open_files()
    for number in stop_signals():
        signal.signal(number, _end)
    configure_logging(settings.log_level, mask=Masker(secrets_of(settings)).mask)
    listener = _listen(settings.host, settings.port)
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    address = f"http://{host}:{listener.getsockname()[1]}"
    gateway = build_gateway(settings)
    config = uvicorn.Config(
        build_app(gateway),
        loop="uvloop",
        http=bounded_protocol(settings),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=settings.max_connections,
    )
    _relieve_collector()
    DrainingServer(
        config,
        drain_s=settings.drain_s,
        on_started=lambda: _announce(address),
        break_off=gateway.break_off,
    ).run(sockets=[listener])


def _announce(address: str) -> None:
    print(f"byop is ready at {address} (API documentation: {address}/v1/api/docs)", flush=True)


def _allow_open_files() -> None:
    """Open as many files as the system lets this process: a connection is one, and 1,024 is few."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # macOS calls it unlimited, and takes less
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _relieve_collector() -> None:
    """Leave what start-up made out of collections, and collect less often.

    A body of 1,000 records is 30,000 new objects: with CPython's threshold of 700 their decoding
    alone starts dozens of collections that walk everything the server holds.
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def _end(_number: int, _frame: object) -> NoReturn:
    """Exit with 0: a signal before the server listens finds nothing to drain."""
    raise SystemExit(0)


def _listen(host: str, port: int) -> socket.socket:
    """Return a bound socket, so that port 0 has its number before the server starts."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except (OSError, OverflowError) as error:
        raise SettingsInvalidError(
            "BYOP_PORT", f"cannot listen on {host}:{port}: {error}"
        ) from None
    return listener


class _PandasBarrier(MetaPathFinder):
    """Makes ``import pandas`` fail: pyarrow imports it, 60 MiB, wherever it is installed."""

    @override
    def find_spec(self, fullname: str, path: object, target: object = None) -> ModuleSpec | None:
        if fullname.partition(".")[0] == "pandas":
            raise ModuleNotFoundError("the server does without pandas", name=fullname)
        return None


def _keep_pandas_out() -> None:
    sys.meta_path.insert(0, _PandasBarrier())
