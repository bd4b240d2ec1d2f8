"""The error envelope: ``{"code", "status", "error", "source"}`` and what we add to it.

Source: reference/wallaroo-sdk.md section 2 (engine style and axum style, read 2026-11-21). ``msg``
is there for clients of the second style; ``type`` and ``facts`` let ours raise the same class.
"""

from collections.abc import Mapping

from byop.errors import ApiError, ByopError


def problem_body(error: ByopError, status: int, source: str) -> dict[str, object]:
    """Return the JSON object that tells of ``error``; ``status`` is the HTTP number."""
    return {
        "code": status,
        "status": "Error",
        "error": error.message,
        "source": source,
        "msg": error.message,
        "type": error.code,
        "facts": error.facts,
    }


def error_from_body(body: object, status: int) -> ByopError:
    """Return the error that an answer with that body and HTTP status tells of."""
    if not isinstance(body, Mapping):
        return ApiError(f"the server answered {status}", status=status)
    message = str(body.get("error") or body.get("msg") or f"the server answered {status}")
    code = body.get("type")
    facts = body.get("facts")
    if not isinstance(code, str) or not isinstance(facts, Mapping):
        return ApiError(message, status=status)
    return ByopError.rebuild(code, message, {str(name): value for name, value in facts.items()})
