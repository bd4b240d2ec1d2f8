"""Request bodies: read whole under a limit, replayed, and the client's going away."""

import asyncio
from collections.abc import Callable, Mapping

from starlette.types import Message, Receive

from byop.errors import InvalidPayloadError, TooLargeError, UnsupportedMediaTypeError

BUFFERED_BYTES = 64 * 1024
"""What a connection holds of a body before anybody has asked for it."""
_GRACE_S = 0.02
"""A request that is answered sooner never pays for the watch."""


def _admit_all(_size_bytes: int) -> None:
    """Take whatever the limit of one body allows."""


class ClientGoneError(Exception):
    """The client closed the connection: nobody waits for the answer."""


def require_plain(headers: Mapping[bytes, bytes]) -> None:
    """Make sure that the body is not compressed.

    Raises:
        UnsupportedMediaTypeError: Content-Encoding names a coding.
    """
    coding = headers.get(b"content-encoding", b"identity")
    if coding.strip().lower() not in (b"", b"identity"):
        raise UnsupportedMediaTypeError(
            "Content-Encoding", coding.decode("latin-1"), "send the body uncompressed"
        )


async def read_body(
    receive: Receive,
    declared: bytes | None,
    *,
    limit_bytes: int,
    admit: Callable[[int], None] = _admit_all,
) -> bytes:
    """Return the whole body. ``declared`` is the Content-Length header.

    ``admit`` is asked before more than a connection's buffer is read, with the declared size or
    with that of each piece of a body that declares none; what it raises ends the reading.

    Raises:
        TooLargeError: More was declared, or came, than the limit; no more than it was kept.
        ClientGoneError: The client left before the end.
    """
    length = None if declared is None else _length(declared)
    if length is not None and length > limit_bytes:
        raise TooLargeError("request body", limit_bytes)
    if length is not None and length > BUFFERED_BYTES:
        admit(length)
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body", False):
        return _within(message.get("body", b""), limit_bytes)
    chunks: list[bytes] = []
    size = 0
    while True:
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size > limit_bytes:
            raise TooLargeError("request body", limit_bytes)
        if length is None:
            admit(len(chunk))
        chunks.append(chunk)
        if not message.get("more_body", False):
            return b"".join(chunks)
        message = await receive()


def replay(body: bytes, receive: Receive) -> Receive:
    """Return a ``receive`` that gives ``body`` first and then what ``receive`` gives."""
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return pending.pop() if pending else await receive()

    return receive_again


class DisconnectWatch:
    """Cancels the task that made it when the client goes away, until ``stop``.

    A CancelledError is this watch's doing exactly when ``is_disconnected``.
    """

    __slots__ = ("_loop", "_receive", "_timer", "_waiting", "_watcher", "is_disconnected")

    def __init__(self, receive: Receive, task: "asyncio.Task[object]") -> None:
        self._receive = receive
        self._waiting = task
        self._loop = task.get_loop()
        self._watcher: asyncio.Task[None] | None = None
        self.is_disconnected = False
        self._timer = self._loop.call_later(_GRACE_S, self._begin)

    def stop(self) -> None:
        """Watch no longer."""
        self._timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()

    def _begin(self) -> None:
        self._watcher = self._loop.create_task(self._watch())

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.is_disconnected = True
        self._waiting.cancel()


def _within(body: bytes, limit_bytes: int) -> bytes:
    if len(body) > limit_bytes:
        raise TooLargeError("request body", limit_bytes)
    return body


def _length(declared: bytes) -> int:
    try:
        return int(declared)
    except ValueError:
        raise InvalidPayloadError("Content-Length is no number") from None
