"""Request ids: the caller's when sane, else ours; in the answer and in every log line."""

import secrets
import string

from structlog.contextvars import bind_contextvars

_LONGEST = 128
_ALLOWED = f"{string.ascii_letters}{string.digits}-_.:".encode()


def bind_request_id(given: bytes | None) -> str:
    """Return the id of this request, bound to every log line that its task writes.

    ``given`` is the caller's X-Request-Id; anything that could forge a log line is replaced.
    """
    request_id = _sane(given) or secrets.token_hex(8)
    bind_contextvars(request_id=request_id)
    return request_id


def _sane(given: bytes | None) -> str:
    if not given or len(given) > _LONGEST or given.translate(None, _ALLOWED):
        return ""
    return given.decode("ascii")
