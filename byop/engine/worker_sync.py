"""Serving a synchronous model: the main thread waits, predicts and answers, with no hand-over.

With more than one thread the main thread only receives. Imported inside model environments.
"""

import select
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

from byop.engine.frames import Frame, FrameKind, FrameReader, Payload, encode_header
from byop.engine.worker_calls import ModelCall
from byop.errors import InvalidInputError


def serve(listener: socket.socket, call: ModelCall, ready: bytes, *, threads: int) -> None:
    """Answer every connection of ``listener`` until DRAIN, then finish what runs."""
    if threads == 1:
        _Server(listener, call, ready, None).run()
        return
    with ThreadPoolExecutor(threads, thread_name_prefix="predict") as pool:
        _Server(listener, call, ready, pool).run()


class _Connection:
    """One gateway's connection. Frames may be sent from several threads."""

    def __init__(self, transport: socket.socket) -> None:
        self.transport = transport
        self._reader = FrameReader()
        self._send_lock = threading.Lock()

    def receive(self) -> list[Frame] | None:
        """Return the next frames, at least one; None at the end of the connection."""
        reader, transport = self._reader, self.transport
        while True:
            flags = socket.MSG_WAITALL if reader.is_inside_large_frame else 0
            count = transport.recv_into(reader.space(), 0, flags)
            if not count:
                return None
            frames = reader.received(count)
            if frames:
                return frames

    def send(self, header: bytes, payload: Payload = b"") -> None:
        """Send a frame; a gateway that has gone loses its answer and nothing else."""
        try:
            with self._send_lock:
                sent = self.transport.sendmsg((header, payload))
                if sent < len(header) + len(payload):
                    rest = memoryview(header + bytes(payload))[sent:]
                    self.transport.sendall(rest)
        except OSError:
            return


class _Server:
    """The loop over all connections."""

    def __init__(
        self,
        listener: socket.socket,
        call: ModelCall,
        ready: bytes,
        pool: ThreadPoolExecutor | None,
    ) -> None:
        self._listener = listener
        self._call = call
        self._ready = ready
        self._pool = pool
        self._connections: dict[int, _Connection] = {}
        self._poll = select.poll()

    def run(self) -> None:
        """Serve until DRAIN."""
        listening = self._listener.fileno()
        self._poll.register(listening, select.POLLIN)
        while True:
            for descriptor, _ in self._poll.poll():
                if descriptor == listening:
                    self._accept()
                elif self._serve(self._connections[descriptor]):
                    return

    def _accept(self) -> None:
        transport, _ = self._listener.accept()
        connection = _Connection(transport)
        self._connections[transport.fileno()] = connection
        self._poll.register(transport.fileno(), select.POLLIN)
        connection.send(self._ready)

    def _serve(self, connection: _Connection) -> bool:
        """Answer what came in; return whether it was DRAIN."""
        try:
            frames = connection.receive()
        except (OSError, InvalidInputError):
            frames = None
        if frames is None:
            self._poll.unregister(connection.transport)
            del self._connections[connection.transport.fileno()]
            connection.transport.close()
            return False
        return any(self._handle(connection, frame) for frame in frames)

    def _handle(self, connection: _Connection, frame: Frame) -> bool:
        match frame.kind:
            case FrameKind.PREDICT:
                self._start(connection, frame)
            case FrameKind.PING:
                connection.send(encode_header(FrameKind.PONG, request_id=frame.request_id))
            case FrameKind.DRAIN:
                return True
            case _:  # CANCEL: a synchronous predict cannot be interrupted
                pass
        return False

    def _start(self, connection: _Connection, frame: Frame) -> None:
        if self._pool is None:
            self._predict(connection, frame)
        else:
            self._pool.submit(self._predict, connection, frame)

    def _predict(self, connection: _Connection, frame: Frame) -> None:
        connection.send(*self._call.answer(frame.request_id, frame.payload))
