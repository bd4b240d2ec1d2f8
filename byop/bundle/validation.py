"""Checking a project by reading it: nothing of it is imported or run."""

import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from byop.bundle.archive_limits import DEFAULT_LIMITS, ArchiveLimits
from byop.bundle.archive_reader import open_archive
from byop.bundle.class_rules import BUILDER_CLASSES, INFERENCE_CLASSES, check_classes
from byop.bundle.loading import OPENAI_HANDLERS
from byop.bundle.manifest import MANIFEST_NAME, ModelManifest, read_manifest
from byop.bundle.project_files import collect_files, is_skipped_folder
from byop.bundle.requirements import REQUIREMENTS_NAME, Requirements, read_requirements
from byop.bundle.secret_detection import looks_secret
from byop.bundle.source_classes import SourceIndex, SourceModule, parse_module
from byop.domain.models import Framework
from byop.errors import InvalidBundleError

SOURCE_LIMIT_BYTES = 1 << 20
"""Largest Python file of a project; parsing it takes up to a thousand times as much memory."""

ALL_SOURCES_LIMIT_BYTES = 16 << 20
"""Most bytes of Python of one project."""

TEXT_LIMIT_BYTES = 16 << 20
"""Largest other file of a project that is read here."""

SEARCHED_LIMIT_BYTES = 256 << 20
"""Most bytes of one project that are searched for credentials."""

_ARTIFACTS = "artifacts"
_SHOWN_SECRETS = 10
_FOREIGN = INFERENCE_CLASSES | BUILDER_CLASSES


@dataclass(frozen=True, slots=True)
class BundleReport:
    """A valid project: what must be installed for it, what is odd, what it says of itself.

    ``framework`` is None for an orchestration.
    """

    requirements: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    manifest: ModelManifest | None = None
    framework: Framework | None = None


@dataclass(frozen=True, slots=True)
class ProjectSource:
    """The names of a project's files, how large one is, and how to read it; None when absent."""

    names: tuple[PurePosixPath, ...]
    read: Callable[[PurePosixPath], bytes | None]
    size_bytes: Callable[[PurePosixPath], int]


def validate_archive(
    zip_path: Path, framework: Framework, limits: ArchiveLimits = DEFAULT_LIMITS
) -> BundleReport:
    """Check an uploaded file. A single ``.py`` is fine for a python step; ONNX is not looked at.

    Raises:
        InvalidArchiveError: It is no zip, or has an entry that must not be unpacked.
        InvalidBundleError: It is no model of that framework; with the documented text.
    """
    if framework is Framework.ONNX:
        return BundleReport(framework=framework)
    if framework is Framework.PYTHON and not zipfile.is_zipfile(zip_path):
        name = PurePosixPath("step.py")
        size_bytes = zip_path.stat().st_size
        _require_readable(name, size_bytes)
        content = {name: zip_path.read_bytes()}
        source = ProjectSource((name,), content.get, lambda _name: size_bytes)
        return validate_source(source, framework)
    with open_project(zip_path, limits) as source:
        return validate_source(source, framework)


def validate_folder(folder: Path, framework: Framework | None = None) -> BundleReport:
    """Check a project folder as ``validate_archive`` checks its zip.

    Without ``framework`` the project tells what it is (see ``recognise``).

    Raises:
        InvalidBundleError: It is no model; with the documented text.
    """
    source = folder_source(folder)
    return validate_source(source, recognise(source) if framework is None else framework)


@contextmanager
def open_project(zip_path: Path, limits: ArchiveLimits = DEFAULT_LIMITS) -> Iterator[ProjectSource]:
    """Open a zip for reading its project.

    Raises:
        InvalidArchiveError: As ``validate_archive``.
    """
    with open_archive(zip_path, limits) as archive:
        entries = {entry.path: entry for entry in archive.entries}

        def read(name: PurePosixPath) -> bytes | None:
            entry = entries.get(name)
            if entry is None:
                return None
            _require_readable(name, entry.size_bytes)
            return archive.read(entry)

        yield ProjectSource(tuple(entries), read, lambda name: entries[name].size_bytes)


def folder_source(folder: Path) -> ProjectSource:
    """Return the project in a folder, as packing would see it."""
    files = collect_files(folder)

    def read(name: PurePosixPath) -> bytes | None:
        path = files.get(name)
        if path is None:
            return None
        _require_readable(name, path.stat().st_size)
        return path.read_bytes()

    return ProjectSource(tuple(files), read, lambda name: files[name].stat().st_size)


def recognise(source: ProjectSource) -> Framework | None:
    """Return what the project is: as ``model.toml`` says, else by what its modules define.

    None is an orchestration: a ``main.py`` and nothing that predicts. When in doubt, custom.

    Raises:
        InvalidBundleError: ``model.toml`` or a top-level module cannot be read.
    """
    manifest = read_source_manifest(source)
    if manifest is not None:
        return manifest.framework
    index = SourceIndex(_parse_all(source)[0], foreign=_FOREIGN)
    if index.derived_from(_FOREIGN) or any(map(index.functions, OPENAI_HANDLERS)):
        return Framework.CUSTOM
    if index.functions("process_data"):
        return Framework.PYTHON
    has_main = any(path.name == "main.py" for path in _own_files(source.names))
    return None if has_main else Framework.CUSTOM


def validate_source(source: ProjectSource, framework: Framework | None) -> BundleReport:
    """Check a project; errors as ``validate_archive``. None only reads its requirements."""
    requirements = _requirements(source, framework)
    manifest = read_source_manifest(source)
    warnings = _check_code(source, framework)
    if framework is not None and manifest is not None and manifest.framework is not framework:
        warnings.append(
            f"model.toml says framework {manifest.framework.value}, "
            f"this upload says {framework.value}"
        )
    warnings.extend(_secret_warnings(source))
    return BundleReport(
        requirements.lines, (*requirements.warnings, *warnings), manifest, framework
    )


def _check_code(source: ProjectSource, framework: Framework | None) -> list[str]:
    """Check what the modules define; give warnings. The trees go when it returns."""
    modules, warnings = _parse_all(source)
    try:
        match framework:
            case Framework.CUSTOM:
                index = SourceIndex(modules, foreign=_FOREIGN)
                if not any(map(index.functions, OPENAI_HANDLERS)):
                    check_classes(index)
            case Framework.PYTHON:
                _check_python_step(modules)
            case Framework.ONNX | None:
                pass
    except (RecursionError, MemoryError):
        raise InvalidBundleError(
            "The Python files cannot be checked: they nest too deeply or define too much"
        ) from None
    return warnings


def read_source_manifest(source: ProjectSource) -> ModelManifest | None:
    """Return the project's ``model.toml``, None when it has none.

    Raises:
        InvalidBundleError: It has one that is wrong.
    """
    content = source.read(PurePosixPath(MANIFEST_NAME))
    if content is None:
        return None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidBundleError(f"{MANIFEST_NAME}: it is no UTF-8 text") from None
    return read_manifest(text)


def _requirements(source: ProjectSource, framework: Framework | None) -> Requirements:
    """Read the requirements file nearest to the root."""
    found = sorted(
        (path for path in _own_files(source.names) if path.name == REQUIREMENTS_NAME),
        key=lambda path: (len(path.parts), str(path)),
    )
    if found:
        return read_requirements(found[0], source.read)
    if framework is Framework.CUSTOM:
        raise InvalidBundleError(
            "Framework.CUSTOM requires a requirements.txt to be included within the uploaded "
            ".zip file"
        )
    return Requirements(())


def _secret_warnings(source: ProjectSource) -> Iterator[str]:
    """Warn of what looks like a credential; large files, or many, are judged by their names."""
    found: list[str] = []
    left_bytes = SEARCHED_LIMIT_BYTES
    for name in source.names:
        size_bytes = source.size_bytes(name)
        is_searched = size_bytes <= min(_limit_bytes(name), left_bytes)
        left_bytes -= size_bytes if is_searched else 0
        if looks_secret(name, partial(_content, source, name) if is_searched else tuple):
            found.append(str(name))
    if found:
        more = len(found) - _SHOWN_SECRETS
        listed = ", ".join(found[:_SHOWN_SECRETS]) + (f" and {more} more" if more > 0 else "")
        yield (
            f"looks like a secret: {listed}. Whoever may read the model may read it: give "
            "credentials at deployment (sidekick_env) and upload the model without them"
        )


def _content(source: ProjectSource, name: PurePosixPath) -> list[bytes]:
    return [source.read(name) or b""]


def _own_files(names: Iterable[PurePosixPath]) -> list[PurePosixPath]:
    return [
        path
        for path in names
        if not any(is_skipped_folder(part) or part == _ARTIFACTS for part in path.parts[:-1])
    ]


def _parse_all(source: ProjectSource) -> tuple[tuple[SourceModule, ...], list[str]]:
    """Parse every module; a broken one is an error where it would be run, else a warning."""
    modules: list[SourceModule] = []
    warnings: list[str] = []
    paths = [path for path in _own_files(source.names) if path.suffix == ".py"]
    if sum(map(source.size_bytes, paths)) > ALL_SOURCES_LIMIT_BYTES:
        raise InvalidBundleError(
            f"The Python files are larger than {ALL_SOURCES_LIMIT_BYTES} bytes together: leave out "
            "packages that requirements.txt can name"
        )
    for path in paths:
        content = source.read(path) or b""
        try:
            modules.append(parse_module(path, content))
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            why = str(error) or "it takes too much memory"
            problem = f"{path} is no valid Python: {why}"
            if len(path.parts) == 1:
                raise InvalidBundleError(problem) from None
            warnings.append(problem)
    return tuple(modules), warnings


def _check_python_step(modules: Iterable[SourceModule]) -> None:
    """The worker looks into top-level files only, so the count is of those."""
    top_level = tuple(module for module in modules if len(module.path.parts) == 1)
    found = SourceIndex(top_level, foreign=frozenset()).functions("process_data")
    if len(found) != 1:
        raise InvalidBundleError(
            "A python step needs exactly one function process_data(input_data: InferenceData), "
            f"found {len(found)}"
        )


def _require_readable(name: PurePosixPath, size_bytes: int) -> None:
    limit_bytes = _limit_bytes(name)
    if size_bytes > limit_bytes:
        raise InvalidBundleError(f"{name} is larger than {limit_bytes} bytes")


def _limit_bytes(name: PurePosixPath) -> int:
    is_source = name.suffix == ".py" or name.name == MANIFEST_NAME
    return SOURCE_LIMIT_BYTES if is_source else TEXT_LIMIT_BYTES
