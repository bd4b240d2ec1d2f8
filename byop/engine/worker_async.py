"""Serving an asynchronous model: one event loop, one task per batch, CANCEL cancels the task.

Imported inside model environments: numpy, pyarrow and the standard library only.
"""

import asyncio
import socket

from byop.engine.frames import Frame, FrameKind, FrameReader, Payload, encode_header
from byop.engine.worker_calls import CANCELLED, ModelCall, error_frame
from byop.errors import InvalidInputError


def serve(listener: socket.socket, call: ModelCall, ready: bytes) -> None:
    """Answer every connection of ``listener`` until DRAIN, then finish what runs."""
    asyncio.run(_Server(listener, call, ready).run())


class _Connection:
    """One gateway's connection and the requests it waits for."""

    def __init__(self, transport: socket.socket) -> None:
        self.transport = transport
        self.running: dict[int, asyncio.Task[None]] = {}
        self._reader = FrameReader()
        self._send_lock = asyncio.Lock()

    async def receive(self) -> list[Frame] | None:
        """Return the frames of the next bytes, maybe none; None at the end of the connection."""
        loop = asyncio.get_running_loop()
        count = await loop.sock_recv_into(self.transport, self._reader.space())
        return self._reader.received(count) if count else None

    async def send(self, header: bytes, payload: Payload = b"") -> None:
        """Send a frame; a gateway that has gone loses its answer and nothing else."""
        loop = asyncio.get_running_loop()
        try:
            async with self._send_lock:
                await loop.sock_sendall(self.transport, header)
                if len(payload):
                    await loop.sock_sendall(self.transport, payload)
        except OSError:
            return


class _Server:
    """Accepts connections and runs their requests."""

    def __init__(self, listener: socket.socket, call: ModelCall, ready: bytes) -> None:
        self._listener = listener
        self._call = call
        self._ready = ready
        self._draining = asyncio.Event()
        self._connections: set[asyncio.Task[None]] = set()
        self._running: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Serve until DRAIN."""
        self._listener.setblocking(False)
        accepting = asyncio.create_task(self._accept())
        await self._draining.wait()
        accepting.cancel()
        if self._running:
            await asyncio.wait(self._running)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            transport, _ = await loop.sock_accept(self._listener)
            task = asyncio.create_task(self._serve(_Connection(transport)))
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)

    async def _serve(self, connection: _Connection) -> None:
        with connection.transport:
            await connection.send(self._ready)
            while True:
                try:
                    frames = await connection.receive()
                except (OSError, InvalidInputError):
                    frames = None
                if frames is None:
                    break
                for frame in frames:
                    await self._handle(connection, frame)
            for task in connection.running.values():
                task.cancel()

    async def _handle(self, connection: _Connection, frame: Frame) -> None:
        match frame.kind:
            case FrameKind.PREDICT:
                self._start(connection, frame)
            case FrameKind.CANCEL if frame.request_id in connection.running:
                connection.running[frame.request_id].cancel()
            case FrameKind.PING:
                await connection.send(encode_header(FrameKind.PONG, request_id=frame.request_id))
            case FrameKind.DRAIN:
                self._draining.set()
            case _:
                pass

    def _start(self, connection: _Connection, frame: Frame) -> None:
        task = asyncio.create_task(self._predict(connection, frame))
        connection.running[frame.request_id] = task
        self._running.add(task)

        def forget(done: asyncio.Task[None]) -> None:
            self._running.discard(done)
            connection.running.pop(frame.request_id, None)

        task.add_done_callback(forget)

    async def _predict(self, connection: _Connection, frame: Frame) -> None:
        try:
            answer = await self._call.answer_async(frame.request_id, frame.payload)
        except asyncio.CancelledError:
            answer = error_frame(frame.request_id, CANCELLED, "nobody waits for it any more")
        await connection.send(*answer)
