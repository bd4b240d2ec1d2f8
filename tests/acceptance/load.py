"""Many concurrent clients that send one row each, again and again, over kept connections."""

import asyncio
import json
from collections.abc import Callable, Iterable, Iterator
from urllib.parse import urlsplit

_OK = b"200"


async def send_rows(
    url: str,
    token: str,
    ids: Iterable[int],
    *,
    connections: int,
    on_acknowledged: Callable[[int], None],
) -> None:
    """Send every id once and report those whose complete answer was a 200.

    A connection that breaks ends its client; the others take over its share.
    """
    shared = iter(ids)
    clients = (_client(url, token, shared, on_acknowledged) for _ in range(connections))
    await asyncio.gather(*clients)


async def _client(
    url: str, token: str, ids: Iterator[int], on_acknowledged: Callable[[int], None]
) -> None:
    parts = urlsplit(url)
    try:
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    except OSError:
        return
    try:
        for number in ids:
            writer.write(_request(parts.netloc, parts.path, token, number))
            if await _status(reader) == _OK:
                on_acknowledged(number)
    except (OSError, asyncio.IncompleteReadError):
        return
    finally:
        writer.close()


def _request(host: str, path: str, token: str, number: int) -> bytes:
    body = json.dumps([{"number": number}]).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n"
        "Content-Type: application/json; format=pandas-records\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def _status(reader: asyncio.StreamReader) -> bytes:
    """Return the status of the next answer, read to its end."""
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    fields = dict(line.lower().split(b": ", 1) for line in lines if b": " in line)
    await reader.readexactly(int(fields[b"content-length"]))
    return first.split(b" ")[1]
