"""New projects from the templates in ``byop/bundle/templates``."""

from enum import StrEnum
from pathlib import Path

from byop.bundle.project_files import collect_files
from byop.domain.identifiers import require_dns_label
from byop.errors import AlreadyExistsError

_TEMPLATES = Path(__file__).parent / "templates"
_PLACEHOLDER = b"my-project"


class ProjectKind(StrEnum):
    """What a new project is to become."""

    PROVIDER = "provider"
    LISTENER = "listener"
    MODEL = "model"
    TASK = "task"


def new_project(kind: ProjectKind, name: str, target: Path) -> list[Path]:
    """Write a project of that kind to the folder ``target`` and return its files.

    Raises:
        InvalidNameError: ``name`` is no DNS label.
        AlreadyExistsError: ``target`` exists and is not empty.
    """
    require_dns_label("project", name)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise AlreadyExistsError("folder", str(target))
    written: list[Path] = []
    for relative, source in collect_files(_TEMPLATES / kind).items():
        path = target / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(source.read_bytes().replace(_PLACEHOLDER, name.encode()))
        written.append(path)
    return written
