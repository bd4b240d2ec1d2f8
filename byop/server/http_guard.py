"""What no route ever sees: requests whose headers or path two programs might read differently.

A pure function of the ASGI scope, in front of everything. Sources: RFC 9112 (one Host, one length),
and the probes that uvicorn with httptools lets through (docs/security.md).
"""

import ipaddress
import re
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from starlette.types import Scope

from byop.errors import ByopError
from byop.server.http_answers import Answer
from byop.server.problems import problem_answer
from byop.settings import Settings

MAX_HEADERS = 100
MAX_HEADER_BYTES = 32 << 10
MAX_TARGET_BYTES = 8 << 10

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_ONCE = frozenset(
    {b"host", b"authorization", b"content-length", b"content-type", b"content-encoding"}
    | {b"transfer-encoding"}
)
_STRANGE = re.compile(
    rb"//|[;\\]|/\.{1,2}(?:/|$)|%(?![2-7][0-9a-f])|%(?:2[5ef]|3b|5c|7f)", re.IGNORECASE
)
"""Paths that a proxy may read as others: dot segments, empty ones, parameters, and what decodes
to such. No name that byop takes needs escaping."""

_AUTHORITY = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]{1,253})(?::\d{0,5})?", re.IGNORECASE)
_REMEMBERED_HOSTS = 1024
_CLOSE = ((b"connection", b"close"),)


class RequestRefusedError(ByopError):
    """A request that no route is asked for."""

    code = "request_refused"


class HttpGuard:
    """Refuses requests by their headers and path.

    ``hosts`` are the names that Host may say, without ports; None takes any name.
    """

    def __init__(self, hosts: frozenset[str] | None) -> None:
        self._hosts = hosts
        self._known: set[bytes] = set()

    def refusal(self, scope: Scope) -> Answer | None:
        """Return the answer to a request that is refused, None for one that goes on."""
        pairs = scope["headers"]
        headers: dict[bytes, bytes] = dict(pairs)
        refused = _headers_refusal(pairs, headers)
        if refused is not None:
            return refused
        host = headers.get(b"host")
        if host is None:
            return _refused(400, "the Host header is missing")
        if host in self._known:
            return _target_refusal(scope)
        return self._host_refusal(host) or _target_refusal(scope)

    def _host_refusal(self, host: bytes) -> Answer | None:
        found = _AUTHORITY.fullmatch(host.decode("latin-1"))
        if found is None:
            return _refused(400, "the Host header is no host")
        name = found[1].lower().rstrip(".")
        if self._hosts is not None and name not in self._hosts:
            return _refused(
                421,
                f"this server does not answer for host {name[:80]!r}: name it in "
                "BYOP_ALLOWED_HOSTS, or set BYOP_PUBLIC_URL",
            )
        if len(self._known) < _REMEMBERED_HOSTS:
            self._known.add(host)
        return None


def allowed_hosts(settings: Settings) -> frozenset[str] | None:
    """Return the names that Host may say, None when it may say any.

    ``BYOP_ALLOWED_HOSTS`` decides. Without it, a server that listens on this machine alone answers
    for this machine alone: a web page elsewhere that lets its own name point here gets nothing (DNS
    rebinding). One that others can reach answers for any name.
    """
    named = settings.allowed_hosts.replace(",", " ").split()
    if "*" in named:
        return None
    if not named and not _is_loopback(settings.host):
        return None
    local = ("localhost", "127.0.0.1", "[::1]", _bracketed(settings.host))
    public = urlsplit(settings.public_url).hostname or ""
    return frozenset(
        name.lower() for name in (*map(_bracketed, named), *local, _bracketed(public)) if name
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def _target_refusal(scope: Scope) -> Answer | None:
    path: bytes = scope["raw_path"]
    if len(path) + len(scope["query_string"]) > MAX_TARGET_BYTES:
        return _refused(414, f"the URL is longer than {MAX_TARGET_BYTES} bytes")
    if _STRANGE.search(path) is not None:
        return _refused(400, "the path holds an escape, a parameter or a segment that no path has")
    if scope["method"] not in _METHODS:
        return _refused(405, f"method {scope['method'][:20]!r} is not served")
    return None


def _headers_refusal(
    pairs: Sequence[tuple[bytes, bytes]], headers: Mapping[bytes, bytes]
) -> Answer | None:
    """``headers`` are the pairs, without those that come again."""
    size = sum(map(len, headers)) + sum(map(len, headers.values()))
    if len(headers) < len(pairs):
        names = [name for name, _ in pairs]
        for name in _ONCE.intersection(names):
            if names.count(name) > 1:
                return _refused(400, f"header {name.decode()} comes twice")
        size = sum(len(name) + len(value) for name, value in pairs)
    if len(pairs) > MAX_HEADERS:
        return _refused(431, f"more than {MAX_HEADERS} headers")
    if size > MAX_HEADER_BYTES:
        return _refused(431, f"more than {MAX_HEADER_BYTES} bytes of headers")
    if b"transfer-encoding" in headers and b"content-length" in headers:
        return _refused(400, "Content-Length and Transfer-Encoding come together")
    return None


def _refused(status: int, why: str) -> Answer:
    answer = problem_answer(RequestRefusedError(why), source="api", status=status)
    answer.headers = (*answer.headers, *_CLOSE)
    return answer
