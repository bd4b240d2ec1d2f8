"""HTTP/1.1 on a connection: uvicorn's httptools protocol, with bounds on slowness and headers.

uvicorn keeps a header block of any length and waits for its end, or for a body's, for ever. One
timer per connection looks after both, and after answers that nobody reads; a request pays for a few
comparisons.
"""

from asyncio import Transport
from typing import Any

from typing_extensions import override
from uvicorn._types import HTTPScope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from byop.server.http_guard import MAX_HEADER_BYTES, MAX_TARGET_BYTES, RequestRefusedError
from byop.server.problems import problem_answer
from byop.settings import Settings

_MAX_HEAD_BYTES = MAX_HEADER_BYTES + MAX_TARGET_BYTES
_LOOKS_PER_TIMEOUT = 4
_REASONS = {
    400: b"Bad Request",
    408: b"Request Timeout",
    431: b"Request Header Fields Too Large",
}


def bounded_protocol(settings: Settings) -> type[HttpToolsProtocol]:
    """Return the protocol class with the bounds of ``settings``."""

    class BoundedProtocol(_BoundedProtocol):
        header_timeout_s = settings.header_timeout_s
        body_idle_s = settings.body_idle_s
        body_grace_s = settings.body_grace_s
        write_idle_s = settings.write_idle_s
        min_bytes_per_s = settings.min_bytes_per_s

    return BoundedProtocol


class _BoundedProtocol(HttpToolsProtocol):
    """Ends connections whose header block, body or answer stands still, or nearly so."""

    header_timeout_s: float
    body_idle_s: float
    body_grace_s: float
    write_idle_s: float
    min_bytes_per_s: int

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - uvicorn's own
        super().__init__(*args, **kwargs)
        self._head_bytes = 0
        self._waiting_since = 0.0
        self._is_in_head = True
        self._body_since = 0.0
        self._body_bytes = 0
        self._is_in_body = False
        self._unread_since = 0.0
        self._unread_bytes = 0
        shortest_s = min(
            self.header_timeout_s, self.body_idle_s, self.body_grace_s, self.write_idle_s
        )
        self._look_s = shortest_s / _LOOKS_PER_TIMEOUT

    @override
    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]  # as uvicorn
        super().connection_made(transport)
        self._waiting_since = self.loop.time()
        self._timer = self.loop.call_later(self._look_s, self._look)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        super().connection_lost(exc)

    @override
    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        # uvicorn leaves None where nothing came yet, and says so in no type.
        scope: HTTPScope | None = self.scope
        if scope is not None and "method" in scope:
            self._is_in_head = False
            self._body_bytes += len(data)
            self._waiting_since = self.loop.time()
            return
        if not self._is_in_head:
            self._is_in_head = True
            self._head_bytes = 0
            self._waiting_since = self.loop.time()
        self._head_bytes += len(data)
        if self._head_bytes > _MAX_HEAD_BYTES:
            self._refuse(431, f"more than {MAX_HEADER_BYTES} bytes of headers")

    @override
    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        # Fields after a chunked body must not join those that the application sees.
        self.headers = []
        self._is_in_body = True
        self._body_since = self.loop.time()
        self._body_bytes = 0

    @override
    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._is_in_body = False

    @override
    def send_400_response(self, msg: str) -> None:
        self._refuse(400, msg)

    def _look(self) -> None:
        """End the connection when its client has taken too long, else look again later."""
        self._timer = self.loop.call_later(self._look_s, self._look)
        now = self.loop.time()
        if self._is_unread(now):
            self.transport.abort()
        elif self._is_in_body:
            self._look_at_body(now)
        elif self._is_in_head and now - self._waiting_since > self.header_timeout_s:
            self._refuse(408, f"no whole header block came within {self.header_timeout_s:g} s")

    def _is_unread(self, now: float) -> bool:
        """Whether the client reads its answer too slowly, or not at all."""
        left_bytes = self.transport.get_write_buffer_size()
        least_bytes = self.min_bytes_per_s * self.write_idle_s
        read_bytes = self._unread_bytes - left_bytes
        if left_bytes == 0 or read_bytes < 0 or read_bytes > least_bytes:
            self._unread_bytes = left_bytes
            self._unread_since = now
        return now - self._unread_since > self.write_idle_s

    def _look_at_body(self, now: float) -> None:
        """End the connection when the body stands still or drips; who is told to wait may."""
        cycle = self._running_cycle()
        if self.flow.read_paused or (cycle is not None and cycle.waiting_for_100_continue):
            self._waiting_since = now
            self._body_since += self._look_s
            return
        due_s = self.body_grace_s + self._body_bytes / self.min_bytes_per_s
        if now - self._waiting_since > self.body_idle_s:
            self._refuse(408, f"no byte of the body came within {self.body_idle_s:g} s")
        elif now - self._body_since > due_s:
            self._refuse(408, f"the body came slower than {self.min_bytes_per_s} bytes a second")

    def _running_cycle(self) -> RequestResponseCycle | None:
        cycle: RequestResponseCycle | None = self.cycle
        return None if cycle is None or cycle.response_complete else cycle

    def _refuse(self, status: int, why: str) -> None:
        """Answer, unless an answer is under way, and close."""
        if self.transport.is_closing():
            return
        cycle = self._running_cycle()
        if cycle is None or not cycle.response_started:
            error = RequestRefusedError(why)
            body = bytes(problem_answer(error, source="api", status=status).body)
            self.transport.write(
                b"HTTP/1.1 %d %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
                b"connection: close\r\n\r\n%b" % (status, _REASONS[status], len(body), body)
            )
        self.transport.close()
