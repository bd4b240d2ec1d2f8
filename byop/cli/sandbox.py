"""``byop sandbox``: a local stand-in for an LLM hosted elsewhere."""

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from byop.cli.problems import exit_on_error


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(sandbox)


def sandbox(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.")] = 8081,
    api_key: Annotated[
        str | None,
        typer.Option(
            envvar="SANDBOX_API_KEY", help="Key that clients must send; made up if absent."
        ),
    ] = None,
    latency: Annotated[float, typer.Option(min=0, help="Seconds before every answer.")] = 0.0,
    script: Annotated[
        Path | None,
        typer.Option(help="TOML or JSON file with rules: prompts and what they get."),
    ] = None,
) -> None:
    """Speak the OpenAI protocol on this machine: same prompt, same answer, no network."""
    from byop.sandbox import Sandbox, load_script  # noqa: PLC0415 - other commands start without it

    with exit_on_error():
        server = Sandbox(
            host,
            port,
            api_key=api_key,
            latency_s=latency,
            script=None if script is None else load_script(script),
        )
        typer.echo(f"byop sandbox answers at {server.base_url} (Ctrl-C ends it)")
        typer.echo(f"  export OPENAI_BASE_URL={server.base_url}")
        if api_key is None:
            typer.echo(f"  export OPENAI_API_KEY={server.api_key}")
        with suppress(KeyboardInterrupt):
            server.run()
