"""What a request's shape got wrong, in one line that never repeats a value."""

from collections.abc import Mapping, Sequence
from typing import Any

_SHOWN = 5


def validation_message(errors: Sequence[Mapping[str, Any]]) -> str:
    """Return ``field: what is wrong`` of the first errors that pydantic found.

    A value may be a credential (``engine_config`` holds some), so only names are told.
    """
    told = [f"{_field(error['loc'])}: {error['msg']}" for error in errors[:_SHOWN]]
    if len(errors) > _SHOWN:
        told.append(f"and {len(errors) - _SHOWN} more")
    return "; ".join(told)


def _field(location: Sequence[object]) -> str:
    names = [str(part) for part in location if part != "body"]
    return ".".join(names) or "body"
