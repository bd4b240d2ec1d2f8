"""What clients sent, kept for the tests that look at it. Credentials are not kept."""

from collections import deque
from dataclasses import dataclass
from threading import Lock

_CREDENTIAL_HEADERS = frozenset({"authorization", "api-key", "cookie", "proxy-authorization"})


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """One request as it came. ``headers`` have lower-case names, credentials are left out."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Recorder:
    """Keeps the last ``limit`` requests. Written by the server's thread, read by any."""

    def __init__(self, limit: int) -> None:
        self._requests: deque[RecordedRequest] = deque(maxlen=limit)
        self._lock = Lock()

    def record(
        self, method: str, path: str, headers: list[tuple[bytes, bytes]], body: bytes
    ) -> None:
        """Keep a request, without its credentials."""
        named = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in headers}
        kept = {name: value for name, value in named.items() if name not in _CREDENTIAL_HEADERS}
        with self._lock:
            self._requests.append(RecordedRequest(method, path, kept, body))

    def requests(self) -> list[RecordedRequest]:
        """Return the kept requests, oldest first."""
        with self._lock:
            return list(self._requests)
