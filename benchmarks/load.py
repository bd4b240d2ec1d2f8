"""A closed-loop HTTP/1.1 load generator: keep-alive connections, one request at a time on each."""

import asyncio
import time
from dataclasses import dataclass
from typing import cast

import uvloop


@dataclass(frozen=True, slots=True)
class Request:
    """One request, sent again and again."""

    host: str
    port: int
    path: str
    headers: dict[str, str]
    body: bytes

    def encode(self) -> bytes:
        head = [f"POST {self.path} HTTP/1.1", f"Host: {self.host}:{self.port}"]
        head += [f"{name}: {value}" for name, value in self.headers.items()]
        head += [f"Content-Length: {len(self.body)}", "", ""]
        return "\r\n".join(head).encode() + self.body


@dataclass(frozen=True, slots=True)
class Measured:
    """Requests per second and the latency's median and 99th percentile in milliseconds."""

    rate: float
    p50_ms: float
    p99_ms: float


class _Connection(asyncio.Protocol):
    def __init__(self, request: bytes, stop_at: float, latencies: list[float]) -> None:
        self._request = request
        self._stop_at = stop_at
        self._latencies = latencies
        self._received = bytearray()
        self._expected = -1
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's has no base class
        self._send()

    def _send(self) -> None:
        self._received.clear()
        self._expected = -1
        self._started = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._expected < 0:
            end = self._received.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(self._received[:end]).lower()
            if not head.startswith(b"http/1.1 200"):
                self._finish(RuntimeError(bytes(self._received[:2000]).decode(errors="replace")))
                return
            length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
            self._expected = end + 4 + length
        if len(self._received) >= self._expected:
            now = time.perf_counter()
            self._latencies.append(now - self._started)
            if now >= self._stop_at:
                self._finish(None)
            else:
                self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        self._finish(exc or RuntimeError("the server closed the connection"))

    def _finish(self, error: Exception | None) -> None:
        if not self.done.done():
            if error is None:
                self.done.set_result(None)
            else:
                self.done.set_exception(error)
            self._transport.close()


def drive(request: Request, *, connections: int, seconds: float) -> Measured:
    """Return what the server did under that load."""
    latencies: list[float] = []

    async def run() -> float:
        loop = asyncio.get_running_loop()
        encoded = request.encode()
        began = time.perf_counter()
        made = [
            (
                await loop.create_connection(
                    lambda: _Connection(encoded, began + seconds, latencies),
                    request.host,
                    request.port,
                )
            )[1]
            for _ in range(connections)
        ]
        await asyncio.gather(*(connection.done for connection in made))
        return time.perf_counter() - began

    took = uvloop.run(run())
    ordered = sorted(latencies)
    return Measured(
        rate=len(ordered) / took,
        p50_ms=1000 * ordered[len(ordered) // 2],
        p99_ms=1000 * ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))],
    )
