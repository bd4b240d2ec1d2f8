"""How much of other people's data the server takes into its memory at once."""

from collections.abc import Callable
from types import TracebackType
from typing import Self

from byop.errors import OverloadedError


class RequestMemory:
    """Bytes of large request bodies in hand: being read, waiting or running."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.held_bytes = 0


class Admission:
    """One request's share of the memory, given back at the end of the ``with`` block.

    The only body in hand is admitted whatever its size, so that the limit of one body holds.
    """

    __slots__ = ("_held_bytes", "_memory", "_require_room")

    def __init__(self, memory: RequestMemory, require_room: Callable[[], None]) -> None:
        """``require_room`` raises when the request would be refused once it is read."""
        self._memory = memory
        self._require_room = require_room
        self._held_bytes = 0

    def take(self, size_bytes: int) -> None:
        """Take so much more, before it is read.

        Raises:
            OverloadedError: The server holds as much as it may, or the model's queue is full.
        """
        memory = self._memory
        self._require_room()
        others_bytes = memory.held_bytes - self._held_bytes
        if others_bytes and memory.held_bytes + size_bytes > memory.limit_bytes:
            raise OverloadedError("the server", memory.limit_bytes, "bytes of requests in hand")
        memory.held_bytes += size_bytes
        self._held_bytes += size_bytes

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._memory.held_bytes -= self._held_bytes
        self._held_bytes = 0
