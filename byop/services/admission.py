"""How much of other people's data the server takes into its memory at once."""

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from byop.errors import OverloadedError


class RequestMemory:
    """Bytes of large request bodies in hand, and of what they decode to."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.held_bytes = 0
        self.lock = threading.Lock()


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
        self._require_room()
        self.grow(size_bytes)

    def grow(self, size_bytes: int) -> None:
        """Take so much more for what is being decoded, from any thread.

        Raises:
            OverloadedError: The server holds as much as it may.
        """
        memory = self._memory
        with memory.lock:
            others_bytes = memory.held_bytes - self._held_bytes
            if others_bytes and memory.held_bytes + size_bytes > memory.limit_bytes:
                raise OverloadedError("the server", memory.limit_bytes, "bytes of requests in hand")
            memory.held_bytes += size_bytes
            self._held_bytes += size_bytes

    def hold(self, size_bytes: int) -> None:
        """Take what brings this request's share to ``size_bytes``; raises as ``grow``."""
        if size_bytes > self._held_bytes:
            self.grow(size_bytes - self._held_bytes)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._held_bytes:
            with self._memory.lock:
                self._memory.held_bytes -= self._held_bytes
            self._held_bytes = 0
