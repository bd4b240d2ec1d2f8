"""Requests of the OpenAI protocol (reference/providers-security.md section 1.1, read 2026-11).

Fields that a stand-in has no use for, such as ``temperature`` and ``tools``, are ignored.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import orjson

from byop.errors import InvalidPayloadError

_Value = TypeVar("_Value")
_MOST_CHOICES = 128


@dataclass(frozen=True, slots=True)
class TextRequest:
    """What chat and legacy completions have in common.

    Attributes:
        prompts: One text per answer that is wanted: all messages joined, or each prompt.
        questions: What rules look at, one per prompt: the last user message, or the prompt.
        choices: Answers per prompt.
        max_tokens: Longest answer; None for any.
        include_usage: A stream ends with the token counts.
    """

    model: str
    prompts: tuple[str, ...]
    questions: tuple[str, ...]
    choices: int
    max_tokens: int | None
    stops: tuple[str, ...]
    stream: bool
    include_usage: bool


def read_chat_request(body: bytes) -> TextRequest:
    """Return the request in the body of POST /v1/chat/completions.

    Raises:
        InvalidPayloadError: It is no JSON, or a field is missing or of the wrong type; ``param``
            names the field.
    """
    document = _read_object(body)
    messages = _read(document, "messages", list)
    if not messages:
        raise _invalid("messages", "Missing required parameter: 'messages'.")
    turns = [_read_message(position, message) for position, message in enumerate(messages)]
    questions = [text for role, text in turns if role == "user"]
    whole = "\n".join(f"{role}: {text}" for role, text in turns)
    return _read_common(document, (whole,), (questions[-1] if questions else turns[-1][1],))


def read_completion_request(body: bytes) -> TextRequest:
    """Return the request in the body of POST /v1/completions; errors as ``read_chat_request``."""
    document = _read_object(body)
    prompts = _read_texts(document, "prompt")
    if not prompts:
        raise _invalid("prompt", "Missing required parameter: 'prompt'.")
    return _read_common(document, prompts, prompts)


def _read_object(body: bytes) -> Mapping[str, object]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise _invalid(None, "We could not parse the JSON body of your request.") from None
    if not isinstance(document, dict):
        raise _invalid(None, "The body of your request must be a JSON object.")
    return document


def _read_message(position: int, message: object) -> tuple[str, str]:
    where = f"messages[{position}]"
    if not isinstance(message, dict):
        raise _invalid(where, f"{where} must be an object.")
    role = message.get("role")
    if not isinstance(role, str):
        raise _invalid(f"{where}.role", f"Missing required parameter: '{where}.role'.")
    return role, _read_content(where, message.get("content"))


def _read_content(where: str, content: object) -> str:
    match content:
        case None:
            return ""
        case str():
            return content
        case list():
            parts = [part.get("text", "") for part in content if isinstance(part, dict)]
            return "\n".join(part for part in parts if isinstance(part, str))
        case _:
            raise _invalid(f"{where}.content", f"'{where}.content' must be text or a list.")


def _read_common(
    document: Mapping[str, object], prompts: tuple[str, ...], questions: tuple[str, ...]
) -> TextRequest:
    model = _read(document, "model", str)
    if not model:
        raise _invalid("model", "you must provide a model parameter")
    options = _read(document, "stream_options", dict) or {}
    newer = _read_count(document, "max_completion_tokens")
    choices = _read_count(document, "n") or 1
    if choices * len(prompts) > _MOST_CHOICES:
        raise _invalid("n", f"At most {_MOST_CHOICES} answers can be asked for at once.")
    return TextRequest(
        model=model,
        prompts=prompts,
        questions=questions,
        choices=choices,
        max_tokens=_read_count(document, "max_tokens") if newer is None else newer,
        stops=tuple(stop for stop in _read_texts(document, "stop") if stop),
        stream=_read(document, "stream", bool) or False,
        include_usage=options.get("include_usage") is True,
    )


def _read_texts(document: Mapping[str, object], key: str) -> tuple[str, ...]:
    match document.get(key):
        case None:
            return ()
        case str() as text:
            return (text,)
        case list() as texts if all(isinstance(one, str) for one in texts):
            return tuple(texts)
        case _:
            raise _invalid(key, f"'{key}' must be a string or a list of strings.")


def _read(document: Mapping[str, object], key: str, kind: type[_Value]) -> _Value | None:
    value = document.get(key)
    if value is None or isinstance(value, kind):
        return value
    raise _invalid(
        key, f"Invalid type for '{key}': expected {kind.__name__}, got {type(value).__name__}."
    )


def _read_count(document: Mapping[str, object], key: str) -> int | None:
    value = _read(document, key, int)
    if value is None or (value >= 1 and not isinstance(value, bool)):
        return value
    raise _invalid(key, f"'{key}' must be a whole number of at least 1.")


def _invalid(param: str | None, message: str) -> InvalidPayloadError:
    return InvalidPayloadError(message, param=param)
