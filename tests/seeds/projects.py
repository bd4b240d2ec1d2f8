"""The model projects that the seeds' code is run with, as zips."""

import re
from pathlib import Path
from textwrap import indent

from byop.bundle.archive import pack
from tests.seeds.corrections import read_corrections

FOLDER = Path(__file__).parent / "projects"

_FRAGMENT = re.compile(r"^( *)# (004-\S+)$", re.MULTILINE)


def pack_zero_shot(folder: Path) -> Path:
    """Return a zip with seed 001's declared columns and no requirements."""
    source = (FOLDER / "zero_shot.txt").read_text()
    return _pack(folder / "zero-shot", {"zero_shot.py": source, "requirements.txt": ""})


def pack_managed_endpoint(folder: Path, *, endpoint: str, name: str) -> Path:
    """Return a zip with seed 004's code, calling ``endpoint``."""
    source = (FOLDER / "managed_endpoint.txt").read_text()
    return _pack(
        folder / name,
        {
            "byop.py": _FRAGMENT.sub(_fragment, source),
            "endpoint.txt": endpoint,
            "requirements.txt": "google-auth\nrequests\n",
        },
    )


def _fragment(found: re.Match[str]) -> str:
    return indent(read_corrections().apply(found[2], filled_in={}).rstrip(), found[1])


def _pack(project: Path, files: dict[str, str]) -> Path:
    project.mkdir()
    for name, content in files.items():
        (project / name).write_text(content)
    return pack(project, project.with_suffix(".zip")).path
