"""Answers of the OpenAI protocol: bodies, stream events and errors.

Source: reference/providers-security.md section 1.1 (read 2026-11). Ids and times come from the
request, so that the same request gets the same bytes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import orjson

from byop.sandbox.writing import count_tokens, pieces

CREATED_AT = 1_760_000_000
"""Every answer's ``created``, in seconds since 1970."""

STREAM_END = b"data: [DONE]\n\n"

Kind = Literal["chat.completion", "text_completion"]
_ID_PREFIX: dict[Kind, str] = {"chat.completion": "chatcmpl", "text_completion": "cmpl"}
_USUAL_CODES = {
    401: "invalid_api_key",
    404: "model_not_found",
    429: "rate_limit_exceeded",
    503: "server_is_overloaded",
}
_TOO_MANY_REQUESTS = 429
_SERVER_ERROR = 500


@dataclass(frozen=True, slots=True)
class Choice:
    """One written answer."""

    text: str
    finish_reason: Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class Completion:
    """What is answered, before it is put into the words of one of the two routes."""

    kind: Kind
    key: str
    model: str
    prompt_tokens: int
    choices: Sequence[Choice]

    def usage(self) -> dict[str, int]:
        """Return the token counts as the protocol names them."""
        written = sum(count_tokens(choice.text) for choice in self.choices)
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": written,
            "total_tokens": self.prompt_tokens + written,
        }


def encode_completion(completion: Completion) -> bytes:
    """Return the body of an answer that is sent at once."""
    choices = [
        {"index": index, **_whole(completion.kind, choice.text), **_end(choice.finish_reason)}
        for index, choice in enumerate(completion.choices)
    ]
    return orjson.dumps(
        {**_head(completion, completion.kind), "choices": choices, "usage": completion.usage()}
    )


def stream_events(completion: Completion, *, include_usage: bool) -> Iterator[bytes]:
    """Give the server-sent events of an answer, one per word and the end mark last."""
    object_name = "text_completion"
    if completion.kind == "chat.completion":
        object_name = "chat.completion.chunk"
    head = _head(completion, object_name)
    usage = {"usage": None} if include_usage else {}
    for index, choice in enumerate(completion.choices):
        if completion.kind == "chat.completion":
            opening = {"delta": {"role": "assistant", "content": "", "refusal": None}}
            yield _event({**head, "choices": [{"index": index, **opening, **_end(None)}], **usage})
        for piece in pieces(choice.text):
            part = {"index": index, **_part(completion.kind, piece), **_end(None)}
            yield _event({**head, "choices": [part], **usage})
        last = {"index": index, **_part(completion.kind, ""), **_end(choice.finish_reason)}
        yield _event({**head, "choices": [last], **usage})
    if include_usage:
        yield _event({**head, "choices": [], "usage": completion.usage()})
    yield STREAM_END


def encode_error(
    status: int, message: str, *, code: str | None = None, param: str | None = None
) -> bytes:
    """Return the body of an error in the protocol's shape."""
    kind = "invalid_request_error"
    if status == _TOO_MANY_REQUESTS:
        kind = code if code == "insufficient_quota" else "requests"
    elif status >= _SERVER_ERROR:
        kind = "server_error"
    error = {"message": message, "type": kind, "param": param, "code": code}
    return orjson.dumps({"error": error})


def usual_code(status: int) -> str | None:
    """Return the ``error.code`` that the status mostly comes with."""
    return _USUAL_CODES.get(status)


def encode_model(name: str) -> bytes:
    """Return the body that describes one model."""
    return orjson.dumps(_model(name))


def encode_models(names: Sequence[str]) -> bytes:
    """Return the body that lists models."""
    return orjson.dumps({"object": "list", "data": [_model(name) for name in names]})


def _model(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": CREATED_AT, "owned_by": "byop-sandbox"}


def _head(completion: Completion, object_name: str) -> dict[str, object]:
    return {
        "id": f"{_ID_PREFIX[completion.kind]}-{completion.key}",
        "object": object_name,
        "created": CREATED_AT,
        "model": completion.model,
        "system_fingerprint": "fp_byop_sandbox",
    }


def _whole(kind: Kind, text: str) -> dict[str, object]:
    if kind == "text_completion":
        return {"text": text}
    return {"message": {"role": "assistant", "content": text, "refusal": None, "annotations": []}}


def _part(kind: Kind, text: str) -> dict[str, object]:
    if kind == "text_completion":
        return {"text": text}
    return {"delta": {"content": text} if text else {}}


def _end(finish_reason: str | None) -> dict[str, object]:
    return {"logprobs": None, "finish_reason": finish_reason}


def _event(document: dict[str, object]) -> bytes:
    return b"data: " + orjson.dumps(document) + b"\n\n"
