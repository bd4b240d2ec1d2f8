"""One HTTP exchange over bare ASGI: the bounded body in, the answer out."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from byop.errors import TooLargeError

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

MAX_BODY_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent back: one body, or the events of a stream. Waits ``latency_s`` before."""

    status: int
    body: bytes | Iterable[bytes]
    headers: dict[str, str] = field(default_factory=dict)
    latency_s: float = 0.0


async def read_body(receive: Receive) -> bytes:
    """Return the request's body; what a client that has gone did not send is missing.

    Raises:
        TooLargeError: It is over the limit.
    """
    parts: list[bytes] = []
    size_bytes = 0
    while (message := await receive())["type"] == "http.request":
        parts.append(message.get("body", b""))
        size_bytes += len(parts[-1])
        if size_bytes > MAX_BODY_BYTES:
            raise TooLargeError("the request body", MAX_BODY_BYTES)
        if not message.get("more_body"):
            break
    return b"".join(parts)


async def is_gone_within(receive: Receive, seconds: float) -> bool:
    """Wait, and return whether the client hung up meanwhile. The body has been read before."""
    try:
        async with asyncio.timeout(seconds):
            while (await receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        return False
    return True


async def send_answer(send: Send, answer: Answer) -> None:
    """Send the answer; a stream event by event."""
    whole = isinstance(answer.body, bytes)
    headers = {
        "content-type": "application/json" if whole else "text/event-stream; charset=utf-8",
        **answer.headers,
    }
    if isinstance(answer.body, bytes):
        headers["content-length"] = str(len(answer.body))
    encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": encoded})
    if isinstance(answer.body, bytes):
        await send({"type": "http.response.body", "body": answer.body})
        return
    for event in answer.body:
        await send({"type": "http.response.body", "body": event, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
