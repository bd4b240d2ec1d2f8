"""``byop demo``: the main job end to end, against servers started for the purpose."""

import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from byop.cli.problems import exit_on_error
from byop.errors import SettingsInvalidError, StorageUnavailableError

if TYPE_CHECKING:
    from byop.client import Pipeline

PROMPTS = [
    "What happened to the Serge llama?",
    "How are you doing?",
    "What would a rude assistant say?",
]
RUDE_ANSWER = "Shut up, you stupid idiot, and get lost."
_READY = "byop is ready at "
_START_TIMEOUT_S = 60
_console = Console()


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(demo)


def demo(
    real: Annotated[
        bool, typer.Option("--real", help="Call OpenAI itself instead of the local stand-in.")
    ] = False,
    api_key: Annotated[
        str, typer.Option(envvar="OPENAI_API_KEY", help="Key for --real.", show_default=False)
    ] = "",
    model: Annotated[str, typer.Option(help="Model for --real.")] = "gpt-4o-mini",
) -> None:
    """Pack, upload, deploy, infer, score and read the log back, on free ports of this machine."""
    with exit_on_error():
        if real and not api_key:
            raise SettingsInvalidError("OPENAI_API_KEY", "--real needs it")
        began = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="byop-demo-") as scratch:
            folder = Path(scratch)
            if real:
                run_job(folder, {"OPENAI_API_KEY": api_key, "OPENAI_MODEL": model})
            else:
                with local_endpoint() as environment:
                    run_job(folder, environment)
        _console.print(f"[bold green]Done[/] in {time.perf_counter() - began:.1f} s.")


@contextmanager
def local_endpoint() -> Iterator[dict[str, str]]:
    """Run the stand-in for OpenAI; yields the variables that a provider needs to reach it."""
    from byop.sandbox import Rule, Sandbox, Script  # noqa: PLC0415 - the other commands do without

    rude = Rule(contains="rude", answer=RUDE_ANSWER)
    with Sandbox(script=Script(rules=(rude,))) as sandbox:
        _step(f"stand-in for OpenAI at {sandbox.base_url}")
        yield {"OPENAI_API_KEY": sandbox.api_key, "OPENAI_BASE_URL": sandbox.base_url}


@dataclass(frozen=True, slots=True)
class DemoServer:
    """A server process of the demo's own."""

    url: str
    credentials: Path


@contextmanager
def server(home: Path) -> Iterator[DemoServer]:
    """Run ``byop serve`` on a free port with its data in ``home``; ends it on exit."""
    command = [sys.executable, "-m", "byop", "serve", "--port", "0", "--home", str(home)]
    with (home.parent / "server.log").open("w+") as log:
        process = subprocess.Popen(  # noqa: S603 - ourselves
            command, stdout=subprocess.PIPE, stderr=log, text=True
        )
        try:
            yield DemoServer(_ready_url(process, log.name), home / "initial-credentials.json")
        finally:
            process.terminate()
            process.wait()


def run_job(folder: Path, environment: dict[str, str]) -> None:
    """Do the main job with the provider's ``environment`` as the deployment's credentials."""
    from byop.bundle.archive import pack  # noqa: PLC0415 - the other commands start without it
    from byop.bundle.shipped import project_folder  # noqa: PLC0415 - as above
    from byop.client import Client, DeploymentConfigBuilder  # noqa: PLC0415 - as above
    from byop.domain.models import Framework  # noqa: PLC0415 - as above

    with server(folder / "home") as running:
        _step(f"server at {running.url}")
        client = Client(api_endpoint=running.url, credentials_file=running.credentials)
        client.set_current_workspace(client.get_workspace("demo", create_if_not_exist=True))
        models = []
        for name in ("openai_chat", "toxicity"):
            packed = pack(project_folder(name), folder / f"{name}.zip")
            _step(f"packed {packed.path.name}: {len(packed.files)} files, sha {packed.sha[:12]}")
            label = name.replace("_", "-")
            models.append(client.upload_model(label, str(packed.path), Framework.CUSTOM))
        config = (
            DeploymentConfigBuilder()
            .cpus(1)
            .memory("1Gi")
            .sidekick_env(models[0], environment)
            .build()
        )
        pipeline = client.build_pipeline("scored-chat")
        for uploaded in models:
            pipeline.add_model_step(uploaded)
        pipeline.deploy(deployment_config=config)
        _step(f"deployed at {pipeline.url()}")
        infer_both_ways(pipeline)
        rows = pipeline.logs(limit=100)
        _step(f"the log holds {len(rows)} rows, columns {', '.join(rows.columns)}")
        pipeline.undeploy()
        _step("undeployed")


def infer_both_ways(pipeline: "Pipeline") -> None:
    """Send the prompts as a DataFrame and as an Arrow table and show the scored answers."""
    import pandas as pd  # noqa: PLC0415 - the other commands start without it
    import pyarrow as pa  # noqa: PLC0415 - as above

    answers = pipeline.infer(pd.DataFrame({"text": PROMPTS}), timeout=60)
    _show("answers to a DataFrame", answers.to_dict("records"))
    answers = pipeline.infer(pa.table({"text": PROMPTS}), timeout=60)
    _show("answers to an Arrow table", answers.to_pylist())


def _show(title: str, rows: Sequence[Mapping[Hashable, object]]) -> None:
    table = Table(title=title, title_justify="left")
    columns = ("in.text", "out.generated_text", "out.profanity", "out.toxicity")
    for column in columns:
        table.add_column(column)
    for row in rows:
        table.add_row(*(_cell(row[column]) for column in columns))
    _console.print(table)


def _cell(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _step(text: str) -> None:
    _console.print(f"[bold cyan]>[/] {text}", soft_wrap=True, highlight=False)


def _ready_url(process: subprocess.Popen[str], log_name: str) -> str:
    """Return the address that the server prints; a timer ends a server that never does."""
    timer = threading.Timer(_START_TIMEOUT_S, process.kill)
    timer.start()
    try:
        for line in process.stdout or ():
            if line.startswith(_READY):
                return line.removeprefix(_READY).split()[0]
    finally:
        timer.cancel()
    raise StorageUnavailableError(
        f"the server did not start:\n{Path(log_name).read_text()[-2000:]}"
    )
