"""Answers of the raw ASGI routes: made by one function, sent by another."""

from dataclasses import dataclass

from starlette.types import Send

JSON = b"application/json"


@dataclass(slots=True)
class Answer:
    """A whole HTTP answer. ``headers`` are those beyond content type, length and request id."""

    status: int
    body: bytes | memoryview
    content_type: bytes = JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()


async def send_answer(send: Send, answer: Answer, request_id: str) -> None:
    """Send ``answer``; its body is not copied."""
    await send(
        {
            "type": "http.response.start",
            "status": answer.status,
            "headers": [
                (b"content-type", answer.content_type),
                (b"content-length", b"%d" % len(answer.body)),
                (b"x-request-id", request_id.encode()),
                *answer.headers,
            ],
        }
    )
    await send({"type": "http.response.body", "body": answer.body})
