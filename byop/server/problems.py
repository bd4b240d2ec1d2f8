"""The one table from errors to HTTP statuses, and the answer that tells of an error.

Overload is 429 and never 503: real SDKs send a POST again ten times on 503
(reference/wallaroo-sdk.md 2.7).
"""

import json
from typing import Literal

from byop import errors
from byop.errors import ByopError
from byop.server.http_answers import Answer
from byop.wire.errors import problem_body

Source = Literal["api", "engine", "sidekick"]


class InternalError(ByopError):
    """A fault of the server. What it was stands in the server's log, under the request id."""

    code = "internal_error"

    def __init__(self) -> None:
        super().__init__("internal server error: the server's log has it under this request id")


class UnknownRouteError(ByopError):
    """A path that the server does not have."""

    code = "unknown_route"

    def __init__(self, path: str) -> None:
        super().__init__(f"there is no route {path[:200]!r}", path=path[:200])


class MethodNotAllowedError(ByopError):
    """A path that the server has, with another method."""

    code = "method_not_allowed"

    def __init__(self, method: str, allowed: str) -> None:
        super().__init__(
            f"{method} is not allowed here: use {allowed}", method=method, allowed=allowed
        )


_STATUS: dict[type[ByopError], int] = {
    ByopError: 500,
    UnknownRouteError: 404,
    MethodNotAllowedError: 405,
    errors.InvalidInputError: 400,
    errors.TooLargeError: 413,
    errors.UnsupportedMediaTypeError: 415,
    errors.NotAuthenticatedError: 401,
    errors.NotAllowedError: 403,
    errors.NotFoundError: 404,
    errors.AlreadyExistsError: 409,
    errors.OverloadedError: 429,
    errors.ModelError: 502,
    errors.ModelInputRejectedError: 400,
    errors.ModelFailedError: 500,
    errors.ModelTimeoutError: 504,
    errors.ProviderError: 502,
    errors.StorageUnavailableError: 507,
    errors.StoredFileDamagedError: 500,
}
_HEADERS: dict[int, tuple[tuple[bytes, bytes], ...]] = {
    401: ((b"www-authenticate", b'Bearer realm="byop"'),),
    429: ((b"retry-after", b"1"),),
}


def status_of(error: ByopError) -> int:
    """Return the HTTP status of ``error``: its class's, or its nearest parent's."""
    return next(_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS)


def problem_answer(error: ByopError, *, source: Source, status: int | None = None) -> Answer:
    """Return the answer that tells of ``error``; a model's failure always names the sidekick.

    ``status`` replaces the table's.
    """
    status = status_of(error) if status is None else status
    told = "sidekick" if isinstance(error, errors.ModelError) else source
    body = json.dumps(problem_body(error, status, told), default=str)
    headers = _HEADERS.get(status, ())
    if isinstance(error, MethodNotAllowedError):
        headers = ((b"allow", str(error.facts["allowed"]).encode()),)
    elif isinstance(error, errors.UnsupportedMediaTypeError):
        headers = ((b"accept-encoding", b"identity"),)  # RFC 9110 section 15.5.16
    return Answer(status, body.encode(), headers=headers)
