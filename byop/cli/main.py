"""The ``byop`` command: each noun registers its own commands."""

import logging

import structlog
import typer

from byop.cli import (
    bundles,
    demo,
    exec,  # noqa: A004 - the command's name
    keys,
    run,
    sandbox,
    serve,
)

app = typer.Typer(
    name="byop",
    help="Self-hosted LLM gateway and model server: bring your own predict.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)


def main() -> None:
    """Run the command line. Commands say what happens themselves; the server logs as it is set."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    for module in (serve, demo, bundles, run, exec, sandbox, keys):
        module.register(app)
    app()
