"""``byop run``: load a project in a real worker and predict once, without a server."""

import asyncio
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from byop.bundle.archive import pack, unpack
from byop.bundle.validation import (
    BundleReport,
    open_project,
    recognise,
    validate_folder,
    validate_source,
)
from byop.cli.problems import exit_on_error
from byop.domain.deployments import ModelResources, RunStatus, SecretEnvironment
from byop.domain.identifiers import DeploymentId, ModelVersionId
from byop.domain.models import Framework, Signature
from byop.engine.environments import VirtualEnvironments
from byop.engine.isolation import Allowance, Isolation, open_isolation
from byop.engine.local import LocalEngine
from byop.errors import InvalidInputError, ModelLoadFailedError
from byop.ports.engine import DeploymentLaunch, ModelLaunch, Prediction
from byop.sdk.env import require_env
from byop.sdk.exceptions import MissingVariableError
from byop.settings import Settings, load_settings
from byop.tables.columns import conform
from byop.tables.ipc import TableLimits, read_file, write_file
from byop.tables.records import decode_records, encode_records
from byop.tables.schemas import format_type

_SHOWN_ROWS = 20
_DEPLOYMENT = DeploymentId(1)
_MODEL = ModelVersionId(1)
_POLL_S = 0.01


@dataclass(frozen=True, slots=True)
class _Outcome:
    prediction: Prediction
    load_s: float
    predict_s: float


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(run)


@exit_on_error()
def run(
    project: Annotated[Path, typer.Argument(exists=True, help="A project folder or its zip.")],
    input_file: Annotated[
        Path,
        typer.Option(
            "--input", exists=True, dir_okay=False, help="pandas records (.json) or .arrow"
        ),
    ],
    env: Annotated[
        list[str] | None,
        typer.Option(help="A variable for the model: NAME=VALUE, or NAME to pass your own on."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Also write the answer: .json or .arrow")
    ] = None,
) -> None:
    """Load PROJECT in a worker and predict once: shows the answer, its types and the timings.

    The worker is isolated as a server's would be (BYOP_ISOLATION).
    """
    console = Console()
    settings = load_settings()
    environment = SecretEnvironment(dict(_variable(given) for given in env or []))
    with tempfile.TemporaryDirectory(prefix="byop-run-") as scratch:
        folder = Path(scratch) / "model"
        report = _prepare(project, folder)
        inputs = _read_input(input_file, report, settings)
        _warn(console, report, environment)
        with closing(_isolate(Path(scratch), settings)) as isolation:
            with console.status("building the environment"):
                python = _build(report, isolation, settings)
            launch = _launch(project, folder, report, python, environment)
            with console.status("loading the model"):
                outcome = asyncio.run(_predict(launch, inputs, Path(scratch), settings, isolation))
    _show(console, inputs, outcome)
    if output is not None:
        _write_output(output, outcome.prediction.outputs)


def _variable(given: str) -> tuple[str, str]:
    name, equals, value = given.partition("=")
    if not name:
        raise InvalidInputError(f"--env {given!r}: give NAME=VALUE or NAME")
    if equals:
        return name, value
    try:
        return name, require_env(name)
    except MissingVariableError:
        raise InvalidInputError(f"--env {name}: the variable is not set here") from None


def _prepare(project: Path, folder: Path) -> BundleReport:
    """Check the project and unpack it as a server would, so that what runs is what is packed."""
    if project.is_dir():
        report = validate_folder(project)
        archive = pack(project, folder.parent / "project.zip", allow_secrets=True).path
    else:
        archive = project
        with open_project(archive) as source:
            report = validate_source(source, recognise(source))
    if report.framework is None:
        raise InvalidInputError(
            f"{project} is an orchestration: it has a main.py and nothing that predicts"
        )
    unpack(archive, folder)
    return report


def _read_input(path: Path, report: BundleReport, settings: Settings) -> pa.RecordBatch:
    manifest = report.manifest
    schema = None if manifest is None else manifest.inputs
    content = path.read_bytes()
    if path.suffix == ".json":
        return decode_records(content, schema)
    batch = read_file(content, TableLimits(settings.max_decoded_bytes, settings.max_columns))
    return batch if schema is None else conform(batch, schema)


def _warn(console: Console, report: BundleReport, environment: SecretEnvironment) -> None:
    required = () if report.manifest is None else report.manifest.environment_required
    missing = [f"the project needs {n}: give --env {n}" for n in required if n not in environment]
    for warning in [*report.warnings, *missing]:
        console.print(Text(f"warning: {warning}", style="yellow"))


def _isolate(scratch: Path, settings: Settings) -> Isolation:
    return open_isolation(
        settings.isolation,
        allowance=Allowance.from_settings(settings),
        root=scratch / "isolation",
        cgroups=settings.cgroups,
    )


def _build(report: BundleReport, isolation: Isolation, settings: Settings) -> Path:
    """Return the interpreter of the project's environment."""
    environments = VirtualEnvironments(
        isolation=isolation,
        root=settings.environments_path,
        installer=settings.installer,
        index_url=settings.index_url,
        find_links=settings.find_links,
        timeout_s=settings.build_timeout_s,
    )
    return environments.ensure(report.framework or Framework.CUSTOM, report.requirements).python


def _launch(
    project: Path,
    folder: Path,
    report: BundleReport,
    python: Path,
    environment: SecretEnvironment,
) -> ModelLaunch:
    manifest = report.manifest
    return ModelLaunch(
        model_version_id=_MODEL,
        name=project.stem if manifest is None else manifest.name,
        version="local",
        sha="",
        framework=report.framework or Framework.CUSTOM,
        path=folder,
        python=python,
        signature=Signature(
            inputs=None if manifest is None else manifest.inputs,
            outputs=None if manifest is None else manifest.outputs,
        ),
        resources=ModelResources(environment=environment),
    )


async def _predict(
    launch: ModelLaunch,
    inputs: pa.RecordBatch,
    scratch: Path,
    settings: Settings,
    isolation: Isolation,
) -> _Outcome:
    engine = LocalEngine(
        run_dir=scratch / "run",
        load_timeout_s=settings.load_timeout_s,
        queue_limit=1,
        log_dir=scratch / "logs",
        isolation=isolation,
    )
    await engine.open()
    try:
        started_s = time.perf_counter()
        engine.start(DeploymentLaunch(_DEPLOYMENT, launch.name, 1, (launch,)))
        await _wait_until_running(engine, launch)
        loaded_s = time.perf_counter()
        prediction = await engine.predict(
            _DEPLOYMENT, _MODEL, inputs, deadline_s=settings.predict_timeout_s
        )
        return _Outcome(prediction, loaded_s - started_s, time.perf_counter() - loaded_s)
    finally:
        await engine.close(drain_s=0)
        for line in engine.logs(_DEPLOYMENT, _MODEL, lines=_SHOWN_ROWS):
            typer.echo(f"model: {line}", err=True)


async def _wait_until_running(engine: LocalEngine, launch: ModelLaunch) -> None:
    while True:
        status = engine.status(_DEPLOYMENT)
        if status is not None and status.status is RunStatus.RUNNING:
            return
        if status is not None and status.status is RunStatus.ERROR:
            reasons = [replica.reason for replica in status.replicas if replica.reason]
            raise ModelLoadFailedError(launch.name, "; ".join(reasons))
        await asyncio.sleep(_POLL_S)


def _show(console: Console, inputs: pa.RecordBatch, outcome: _Outcome) -> None:
    outputs = outcome.prediction.outputs
    table = Table()
    shown = [("in", inputs), ("out", outputs)]
    for side, batch in shown:
        for field in batch.schema:
            table.add_column(Text(f"{side}.{field.name}\n{format_type(field.type)}"))
    rows = [batch.slice(0, _SHOWN_ROWS).to_pylist() for _, batch in shown]
    for given, found in zip(*rows, strict=True):
        table.add_row(*(Text(str(value)) for value in [*given.values(), *found.values()]))
    console.print(table)
    if outputs.num_rows > _SHOWN_ROWS:
        console.print(f"... and {outputs.num_rows - _SHOWN_ROWS} more rows")
    console.print(
        f"load {outcome.load_s * 1e3:.0f} ms, predict {outcome.predict_s * 1e3:.2f} ms "
        f"(the model {outcome.prediction.elapsed_ns / 1e6:.2f} ms)"
    )


def _write_output(path: Path, outputs: pa.RecordBatch) -> None:
    if path.suffix == ".json":
        path.write_bytes(encode_records(outputs))
    else:
        path.write_bytes(write_file(outputs).to_pybytes())
