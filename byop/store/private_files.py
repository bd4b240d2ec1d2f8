"""Files that only the server's user may read."""

import os
from pathlib import Path


def write_private(path: Path, content: bytes) -> None:
    """Write a 0600 file that is there whole or not at all, also after a power cut.

    When this returns, a power cut does not bring the file before it back.
    """
    staging = path.with_name(f".{path.name}.new")
    descriptor = os.open(staging, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    staging.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
