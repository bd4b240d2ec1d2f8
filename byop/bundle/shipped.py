"""The provider and listener projects that come with byop."""

from pathlib import Path

import byop
from byop.errors import NotFoundError

GROUPS = ("providers", "listeners")


def project_folder(name: str) -> Path:
    """Return the folder of the shipped project ``name``, such as ``openai_chat``.

    A wheel holds them below ``byop/_projects``; a checkout has them beside the package.

    Raises:
        NotFoundError: There is none of that name.
    """
    package = Path(byop.__file__).parent
    for root in (package / "_projects", package.parent):
        for group in GROUPS:
            folder = root / group / name
            if name.isidentifier() and folder.is_dir():
                return folder
    raise NotFoundError("project", name)
