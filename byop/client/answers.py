"""Reading JSON answers: a value at a path, of the expected type, or an ApiError that says where."""

from byop.errors import ApiError


def value_at(body: object, *path: str | int) -> object:
    """Return the value at ``path``, None when there is none."""
    for key in path:
        if isinstance(body, dict) and isinstance(key, str):
            body = body.get(key)
        elif isinstance(body, list) and isinstance(key, int) and key < len(body):
            body = body[key]
        else:
            return None
    return body


def text_at(body: object, *path: str | int) -> str:
    """Return the text at ``path``."""
    value = value_at(body, *path)
    if not isinstance(value, str):
        raise _unexpected("a text", path, value)
    return value


def int_at(body: object, *path: str | int) -> int:
    """Return the whole number at ``path``."""
    value = value_at(body, *path)
    if not isinstance(value, int) or isinstance(value, bool):
        raise _unexpected("a whole number", path, value)
    return value


def list_at(body: object, *path: str | int) -> list[object]:
    """Return the list at ``path``; None counts as empty."""
    value = value_at(body, *path)
    if value is None:
        return []
    if not isinstance(value, list):
        raise _unexpected("a list", path, value)
    return value


def _unexpected(expected: str, path: tuple[str | int, ...], value: object) -> ApiError:
    where = ".".join(map(str, path))
    return ApiError(
        f"the server's answer has no {where} that is {expected} (got {type(value).__name__}): "
        "is it a byop server?"
    )
