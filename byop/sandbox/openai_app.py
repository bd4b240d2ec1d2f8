"""The stand-in for OpenAI as an ASGI application."""

from collections import Counter
from collections.abc import Callable, Iterable, MutableMapping
from dataclasses import replace
from hmac import compare_digest
from typing import Any

from byop.errors import InvalidPayloadError, TooLargeError
from byop.sandbox import openai_answers
from byop.sandbox.http_exchange import (
    Answer,
    Receive,
    Send,
    is_gone_within,
    read_body,
    send_answer,
)
from byop.sandbox.openai_answers import Choice, Completion, Kind
from byop.sandbox.openai_requests import TextRequest, read_chat_request, read_completion_request
from byop.sandbox.recording import Recorder
from byop.sandbox.script import Rule, Script
from byop.sandbox.writing import (
    count_tokens,
    cut_at_stops,
    cut_at_tokens,
    digest_of,
    write_answer,
)

_DEFAULT_MODELS = ("gpt-4o", "gpt-4o-mini")
_MODELS_PATH = "/v1/models"
_COMPLETION_PATHS: dict[str, tuple[Kind, Callable[[bytes], TextRequest]]] = {
    "/v1/chat/completions": ("chat.completion", read_chat_request),
    "/v1/completions": ("text_completion", read_completion_request),
}


class OpenAiApp:
    """Answers by a script and, where it is silent, from the prompt alone."""

    def __init__(
        self,
        *,
        api_key: str,
        script: Script,
        latency_s: float,
        recorder: Recorder,
        on_ready: Callable[[], None],
    ) -> None:
        self._expected = f"Bearer {api_key}".encode()
        self._script = script
        self._latency_s = latency_s
        self._recorder = recorder
        self._on_ready = on_ready
        self._uses: Counter[int] = Counter()

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve one request, or tell when the server is up."""
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            self._on_ready()
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
        elif scope["type"] == "http":
            answer = await self._answer(scope, receive)
            if answer.latency_s and await is_gone_within(receive, answer.latency_s):
                return
            await send_answer(send, answer)

    async def _answer(self, scope: MutableMapping[str, Any], receive: Receive) -> Answer:
        method, path, headers = scope["method"], scope["path"], scope["headers"]
        try:
            body = await read_body(receive)
            self._recorder.record(method, path, headers, body)
            return self._refusal(headers) or self._route(method, path, body)
        except TooLargeError as error:
            return _error(413, error.message)
        except InvalidPayloadError as error:
            param = error.facts.get("param")
            return _error(400, error.message, param=param if isinstance(param, str) else None)

    def _refusal(self, headers: Iterable[tuple[bytes, bytes]]) -> Answer | None:
        """Return the answer to a request without the key, None when it has it."""
        given = next((value for name, value in headers if name.lower() == b"authorization"), b"")
        if not given:
            return _error(401, "You didn't provide an API key: send it as a Bearer token.")
        if compare_digest(given, self._expected):
            return None
        return _error(401, "Incorrect API key provided.", code="invalid_api_key")

    def _route(self, method: str, path: str, body: bytes) -> Answer:
        if method == "POST" and path in _COMPLETION_PATHS:
            kind, read_request = _COMPLETION_PATHS[path]
            return self._complete(kind, read_request(body))
        models = self._script.models or _DEFAULT_MODELS
        if method == "GET" and path == _MODELS_PATH:
            return Answer(200, openai_answers.encode_models(models))
        name = path.removeprefix(f"{_MODELS_PATH}/")
        if method == "GET" and name != path:
            if name in models:
                return Answer(200, openai_answers.encode_model(name))
            return _unknown_model(name)
        return _error(404, f"Invalid URL ({method} {path})")

    def _complete(self, kind: Kind, request: TextRequest) -> Answer:
        if self._script.models and request.model not in self._script.models:
            return _unknown_model(request.model)
        rules = [self._take_rule(question) for question in request.questions]
        latency_s = max(self._latency_of(rule) for rule in rules)
        for rule in rules:
            if rule is not None and rule.status is not None:
                return replace(_scripted_error(rule, rule.status), latency_s=latency_s)
        completion = _write(kind, request, rules)
        body: bytes | Iterable[bytes] = openai_answers.encode_completion(completion)
        if request.stream:
            body = openai_answers.stream_events(completion, include_usage=request.include_usage)
        headers = {"x-request-id": f"req_{completion.key}", "openai-version": "2020-10-01"}
        return Answer(200, body, headers, latency_s)

    def _take_rule(self, question: str) -> Rule | None:
        for position, rule in enumerate(self._script.rules):
            spent = rule.times is not None and self._uses[position] >= rule.times
            if not spent and rule.applies_to(question):
                self._uses[position] += 1
                return rule
        return None

    def _latency_of(self, rule: Rule | None) -> float:
        if rule is None or rule.latency_s is None:
            return self._latency_s
        return rule.latency_s


def _write(kind: Kind, request: TextRequest, rules: list[Rule | None]) -> Completion:
    choices = [
        _write_choice(request, question, number, rule)
        for question, rule in zip(request.questions, rules, strict=True)
        for number in range(request.choices)
    ]
    return Completion(
        kind=kind,
        key=digest_of(kind, request.model, *request.prompts).hex()[:29],
        model=request.model,
        prompt_tokens=sum(count_tokens(prompt) for prompt in request.prompts),
        choices=choices,
    )


def _write_choice(request: TextRequest, question: str, number: int, rule: Rule | None) -> Choice:
    scripted = None if rule is None else rule.answer
    text = write_answer(question, number) if scripted is None else scripted
    text = cut_at_stops(text, request.stops)
    if request.max_tokens is None or count_tokens(text) <= request.max_tokens:
        return Choice(text, "stop")
    return Choice(cut_at_tokens(text, request.max_tokens), "length")


def _scripted_error(rule: Rule, status: int) -> Answer:
    message = rule.message or f"The script answers this prompt with status {status}."
    answer = _error(status, message, code=rule.code or openai_answers.usual_code(status))
    if rule.retry_after_s is None:
        return answer
    return replace(answer, headers={"retry-after": f"{rule.retry_after_s:g}"})


def _unknown_model(name: str) -> Answer:
    message = f"The model `{name[:80]}` does not exist or you do not have access to it."
    return _error(404, message, code="model_not_found", param="model")


def _error(
    status: int, message: str, *, code: str | None = None, param: str | None = None
) -> Answer:
    return Answer(status, openai_answers.encode_error(status, message, code=code, param=param))
