"""Making, packing and looking into model projects: ``byop new``, ``pack`` and ``inspect``."""

import hashlib
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from byop.bundle.archive import pack as pack_folder
from byop.bundle.manifest import MANIFEST_NAME, ModelManifest, read_manifest
from byop.bundle.scaffolding import ProjectKind, new_project
from byop.bundle.validation import (
    BundleReport,
    ProjectSource,
    open_project,
    read_source_manifest,
    recognise,
    validate_folder,
    validate_source,
)
from byop.cli.problems import exit_on_error
from byop.errors import InvalidBundleError
from byop.tables.schemas import format_type

_SHOWN_FILES = 40


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command()(new)
    app.command()(pack)
    app.command()(inspect)


@exit_on_error()
def new(
    kind: Annotated[ProjectKind, typer.Argument(help="What it is to become.")],
    name: Annotated[str, typer.Argument(help="A DNS label; also the folder's name.")],
) -> None:
    """Start a project from a template, in a new folder NAME."""
    for path in new_project(kind, name, Path(name)):
        typer.echo(path)


@exit_on_error()
def pack(
    folder: Annotated[Path, typer.Argument(exists=True, file_okay=False)],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The zip; NAME.zip by default.")
    ] = None,
    allow_secrets: Annotated[
        bool, typer.Option("--allow-secrets", help="Pack files that look like credentials.")
    ] = False,
) -> None:
    """Check the project in FOLDER and pack it. The same files give the same bytes."""
    report = validate_folder(folder)
    packed = pack_folder(folder, output or _default_target(folder), allow_secrets=allow_secrets)
    for warning in report.warnings:
        typer.secho(f"warning: {warning}", fg=typer.colors.YELLOW, err=True)
    typer.echo(f"{packed.path}  {packed.size_bytes} bytes  {len(packed.files)} files")
    typer.echo(f"sha256 {packed.sha}")


@exit_on_error()
def inspect(archive: Annotated[Path, typer.Argument(exists=True, dir_okay=False)]) -> None:
    """Show what a zip declares and what is wrong with it. Nothing in it is run."""
    with open_project(archive) as source:
        problem, report = _judge(source)
        Console().print(_describe(archive, source, report, problem))
    if problem is not None:
        raise typer.Exit(1)


def _default_target(folder: Path) -> Path:
    manifest = folder / MANIFEST_NAME
    if manifest.is_file():
        return Path(f"{read_manifest(manifest.read_text(encoding='utf-8')).name}.zip")
    return Path(f"{folder.resolve().name}.zip")


def _judge(source: ProjectSource) -> tuple[str | None, BundleReport]:
    """Return what is wrong, if anything, and as much of a report as can be had."""
    report = BundleReport()
    try:
        report = BundleReport(manifest=read_source_manifest(source), framework=recognise(source))
        report = validate_source(source, report.framework)
    except InvalidBundleError as error:
        return error.message, report
    return None, report


def _describe(
    archive: Path, source: ProjectSource, report: BundleReport, problem: str | None
) -> Table:
    with archive.open("rb") as file:
        sha = hashlib.file_digest(file, "sha256").hexdigest()
    table = Table(show_header=False, title=str(archive), title_justify="left")
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    framework = "orchestration" if report.framework is None else report.framework.value
    rows = {
        "sha256": sha,
        "size": f"{archive.stat().st_size} bytes",
        "framework": "" if problem and report.framework is None else framework,
        **_manifest_rows(report.manifest),
        "requirements": "\n".join(report.requirements) or "none",
        "files": _listed([str(name) for name in source.names]),
        "warnings": "\n".join(report.warnings),
        "problems": problem or "none",
    }
    for label, value in rows.items():
        if value:
            is_bad = label == "problems" and problem is not None
            table.add_row(label, Text(value, style="red" if is_bad else ""))
    return table


def _manifest_rows(manifest: ModelManifest | None) -> dict[str, str]:
    if manifest is None:
        return {MANIFEST_NAME: "none: the schemas come with the upload"}
    kind = manifest.endpoint_kind
    return {
        "name": manifest.name,
        "input": _columns(manifest.inputs),
        "output": _columns(manifest.outputs),
        "needs variables": "\n".join(manifest.environment_required),
        "may use variables": "\n".join(manifest.environment_optional),
        "endpoint": "" if kind is None else kind.value,
    }


def _columns(schema: pa.Schema | None) -> str:
    if schema is None:
        return "not declared"
    return "\n".join(f"{field.name}: {format_type(field.type)}" for field in schema)


def _listed(names: list[str]) -> str:
    more = len(names) - _SHOWN_FILES
    return "\n".join([*names[:_SHOWN_FILES], *([f"... and {more} more"] if more > 0 else [])])
