"""Which files of a project folder belong into its zip."""

from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from byop.bundle.manifest import MANIFEST_NAME, read_manifest
from byop.errors import InvalidBundleError

_SKIPPED_FOLDERS = (
    "*.egg-info",
    ".*",
    "__MACOSX",
    "__pycache__",
    "node_modules",
    "venv",
)
_SKIPPED_FILES = (
    "*.pyc",
    "*.pyo",
    "*.swp",
    "*~",
    ".DS_Store",
    ".coverage",
    ".dockerignore",
    ".gitattributes",
    ".gitignore",
    ".gitkeep",
    ".gitmodules",
    "Thumbs.db",
    "desktop.ini",
)


def is_skipped_folder(name: str) -> bool:
    """Return whether a folder of that name holds caches, version control or an environment."""
    return any(fnmatch(name, pattern) for pattern in _SKIPPED_FOLDERS)


def is_skipped_file(name: str) -> bool:
    """Return whether a file of that name is a cache, an editor's or version control's."""
    return any(fnmatch(name, pattern) for pattern in _SKIPPED_FILES)


def collect_files(folder: Path) -> dict[PurePosixPath, Path]:
    """Return name in the zip -> file on disk, sorted by name, includes among them.

    Raises:
        InvalidBundleError: The folder's ``model.toml`` is wrong, an included path is missing or
            takes the name of another file, or a linked folder or a special file is in the way.
    """
    if not folder.is_dir():
        raise InvalidBundleError(f"{folder} is no folder")
    found = dict(_walk(folder, PurePosixPath()))
    for text in _includes(folder):
        source = folder / text
        name = PurePosixPath(source.resolve().name)
        if not source.exists():
            raise InvalidBundleError(f"model.toml: bundle.include: {text!r} does not exist")
        included = dict(_walk(source, name)) if source.is_dir() else {name: source}
        taken = sorted(str(path) for path in included.keys() & found.keys())
        if taken:
            raise InvalidBundleError(
                f"model.toml: bundle.include: {text!r} would overwrite {taken[0]!r}"
            )
        found.update(included)
    return dict(sorted(found.items(), key=lambda item: str(item[0])))


def _includes(folder: Path) -> tuple[str, ...]:
    manifest = folder / MANIFEST_NAME
    if not manifest.is_file():
        return ()
    return read_manifest(manifest.read_text(encoding="utf-8")).bundle_include


def _walk(folder: Path, inside: PurePosixPath) -> Iterator[tuple[PurePosixPath, Path]]:
    """Give every file below ``folder`` under its name. Linked files count as their content."""
    for path in sorted(folder.iterdir()):
        name = inside / path.name
        if path.is_dir():
            if is_skipped_folder(path.name) or (path / "pyvenv.cfg").exists():
                continue
            if path.is_symlink():
                raise InvalidBundleError(f"{name} is a linked folder: copy it into the project")
            yield from _walk(path, name)
        elif is_skipped_file(path.name):
            continue
        elif path.is_file():
            yield name, path
        else:
            raise InvalidBundleError(f"{name} is neither a file nor a folder")
