"""The floor of free disk space below which a store takes nothing more."""

import os
import time
from pathlib import Path

from byop.errors import StorageFullError

_CHECK_EVERY_S = 1.0


class FreeSpaceFloor:
    """Refuses writes while the disk has less free than the floor; asks it about once a second.

    Between two questions a check costs a clock reading. Safe from several threads.

    Args:
        path: Something that exists on the disk in question.
        min_free_bytes: The floor; 0 means none.
    """

    def __init__(self, path: Path, min_free_bytes: int) -> None:
        self._path = path
        self._min_free_bytes = min_free_bytes
        self._asked_s = float("-inf")
        self._free_bytes = 0

    def check(self) -> None:
        """Return when there is room, also when the disk could not be asked.

        Raises:
            StorageFullError: Less than the floor is free.
        """
        if not self._min_free_bytes:
            return
        now_s = time.monotonic()
        if now_s - self._asked_s >= _CHECK_EVERY_S:
            self._asked_s = now_s
            self._free_bytes = self._ask()
        if self._free_bytes < self._min_free_bytes:
            raise StorageFullError(
                f"the disk of {self._path} has {self._free_bytes} bytes free, less than"
                f" BYOP_MIN_FREE_BYTES={self._min_free_bytes}: nothing is written until there is"
                " more"
            )

    def _ask(self) -> int:
        try:
            found = os.statvfs(self._path)
        except OSError:
            return self._min_free_bytes
        return found.f_bavail * found.f_frsize
