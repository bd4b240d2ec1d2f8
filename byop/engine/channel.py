"""The gateway's end of a worker's socket."""

import asyncio
from collections.abc import Callable
from typing import cast

from typing_extensions import override

from byop.engine.frames import Frame, FrameKind, FrameReader, Payload, encode_header
from byop.errors import InvalidInputError

_JOINED_BYTES = 32 * 1024
"""A payload up to this size leaves in one write with its header."""


class Channel(asyncio.BufferedProtocol):
    """Sends frames and hands on the received ones. A peer that sends garbage is cut off.

    So is one that announces a payload over ``max_payload_bytes``, before memory is taken for it.
    """

    def __init__(
        self,
        *,
        on_frame: Callable[[Frame], None],
        on_lost: Callable[[str | None], None],
        max_payload_bytes: int,
    ) -> None:
        self._on_frame = on_frame
        self._on_lost = on_lost
        self._reader = FrameReader(max_payload_bytes=max_payload_bytes)
        self._transport: asyncio.WriteTransport | None = None
        self._fault: str | None = None

    def send(self, kind: FrameKind, request_id: int = 0, payload: Payload = b"") -> None:
        """Send a frame; nothing happens when the connection is gone.

        Raises:
            TooLargeError: The payload is over the limit of a frame.
        """
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        size = len(payload)
        header = encode_header(kind, size, request_id=request_id)
        if size <= _JOINED_BYTES:
            transport.write(b"".join((header, payload)) if size else header)
        else:
            transport.writelines((header, memoryview(payload)))

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.abort()

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods and not the base class
        self._transport = cast("asyncio.WriteTransport", transport)

    @override
    def get_buffer(self, sizehint: int) -> memoryview:
        return self._reader.space()

    @override
    def buffer_updated(self, nbytes: int) -> None:
        try:
            frames = self._reader.received(nbytes)
        except InvalidInputError as error:
            self._fault = str(error)
            self.close()
            return
        for frame in frames:
            self._on_frame(frame)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._on_lost(self._fault)
