"""The provider, loaded as a worker loads it, against servers on real sockets."""

import asyncio
import logging
import traceback
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from byop.bundle.loading import LoadedModel, load_inference
from byop.errors import ModelLoadFailedError
from byop.sandbox import Rule, Sandbox, Script

PROJECT = Path(__file__).resolve().parents[2] / "providers" / "openai_chat"
CANARY = "sk-canary-8d2f61"
SCRIPT = Script(
    rules=(
        Rule(contains="llama", answer="It went up the mountain."),
        Rule(contains="too long", status=400, code="context_too_long", message="Too\n long."),
        Rule(contains="echo", status=400, code=CANARY.replace("-", "_"), message=f"No {CANARY}!"),
        Rule(contains="forbidden", status=403, message=f"{CANARY} may not"),
        Rule(contains="flaky", status=500, retry_after_s=0.001, times=2),
        Rule(contains="slow", latency_s=60),
    ),
    models=("gpt-4o-mini", "gpt-other"),
)
ACCEPTED_TOGETHER = 16


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(api_key=CANARY, script=SCRIPT) as running:
        yield running


@pytest.fixture(autouse=True)
def _deployment(monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)
    monkeypatch.setenv("OPENAI_BASE_URL", sandbox.base_url)
    monkeypatch.delenv("OPENAI_MODEL", raising=False)


@asynccontextmanager
async def loaded() -> AsyncIterator[LoadedModel]:
    model = load_inference(PROJECT)
    inference: Any = getattr(model.predict, "__self__", None)
    async with inference.model.client:
        yield model


async def ask_all(model: LoadedModel, *prompts: str | None) -> list[str]:
    column: npt.NDArray[Any] = np.array(prompts, dtype=object)
    outcome = model.predict({"text": column})
    assert not isinstance(outcome, dict)
    answers = await outcome
    assert list(answers) == ["text", "generated_text"]
    assert answers["text"].tolist() == list(prompts)
    return [str(answer) for answer in answers["generated_text"]]


async def test_rows_are_answered_in_their_order() -> None:
    async with loaded() as model:
        assert model.is_async
        first, second, third = await ask_all(model, "Hi there", "A llama?", "Hi there")
    assert "Hi there" in first
    assert second == "It went up the mountain."
    assert third == first


async def test_no_rows_give_no_answers() -> None:
    async with loaded() as model:
        assert await ask_all(model) == []


async def test_failed_row_says_why_and_the_others_keep_their_answers() -> None:
    async with loaded() as model:
        answers = await ask_all(model, "llama", "too long", None, "llama")
    assert answers == [
        "It went up the mountain.",
        "[error] the provider answered 400 (context_too_long): Too long.",
        "[error] the text is null",
        "It went up the mountain.",
    ]


async def test_passing_server_error_is_retried(sandbox: Sandbox) -> None:
    async with loaded() as model:
        (answer,) = await ask_all(model, "flaky")
    assert not answer.startswith("[error]")
    assert len([one for one in sandbox.requests if b"flaky" in one.body]) == 3


async def test_row_over_its_deadline_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    async with loaded() as model:
        inference: Any = getattr(model.predict, "__self__", None)
        module = type(inference).__module__
        monkeypatch.setattr(f"{module}.ROW_DEADLINE_S", 0.2)
        assert await ask_all(model, "slow") == ["[error] no answer within 0.2 s"]


async def test_endpoint_that_is_down_is_told_per_row(monkeypatch: pytest.MonkeyPatch) -> None:
    with Sandbox() as stopped:
        url = stopped.base_url
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    async with loaded() as model:
        inference: Any = getattr(model.predict, "__self__", None)
        inference.model.client.max_retries = 0
        assert await ask_all(model, "Hi") == ["[error] the provider cannot be reached"]


async def test_model_name_comes_from_its_variable(
    monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox
) -> None:
    monkeypatch.setenv("OPENAI_MODEL", "gpt-other")
    async with loaded() as model:
        await ask_all(model, "Which model?")
    asked = [one.body for one in sandbox.requests if b"Which model?" in one.body]
    assert [b'"gpt-other"' in body for body in asked] == [True]


@pytest.mark.parametrize("value", [None, "", "  "])
def test_missing_key_fails_at_load_and_is_named(
    monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    if value is None:
        monkeypatch.delenv("OPENAI_API_KEY")
    else:
        monkeypatch.setenv("OPENAI_API_KEY", value)
    with pytest.raises(ModelLoadFailedError, match="OPENAI_API_KEY is not set"):
        load_inference(PROJECT)


def test_key_that_no_header_can_carry_fails_at_load_unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-ключ")
    with pytest.raises(ModelLoadFailedError, match="no HTTP header") as caught:
        load_inference(PROJECT)
    assert "ключ" not in str(caught.value)


async def test_key_that_is_refused_for_all_rows_is_one_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-another")
    async with loaded() as model:
        with pytest.raises(RuntimeError, match=r"401 \(invalid_api_key\).*OPENAI_API_KEY"):
            await ask_all(model, "one", None, "two")


async def test_unknown_model_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_MODEL", "gpt-0")
    async with loaded() as model:
        with pytest.raises(RuntimeError, match=r"404 \(model_not_found\).*`gpt-0`.*OPENAI_MODEL"):
            await ask_all(model, "one")


async def test_one_refused_row_of_many_is_no_error_for_all() -> None:
    async with loaded() as model:
        answers = await ask_all(model, "llama", "forbidden")
    assert answers == [
        "It went up the mountain.",
        "[error] the provider answered 403",
    ]


async def test_key_is_in_no_answer_error_or_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with loaded() as model:
        answers = await ask_all(model, "echo", "forbidden", "llama")
        with pytest.raises(RuntimeError) as caught:
            await ask_all(model, "forbidden")
    assert answers[0].endswith(": No ***!")
    assert caught.value.__context__ is None
    told = "\n".join([*answers, *traceback.format_exception(caught.value), caplog.text])
    assert "403" in told
    assert CANARY not in told


class Endpoint:
    """Gives one answer to all, once ``together`` requests wait at the same time."""

    def __init__(self, answer: bytes, *, together: int = 1) -> None:
        self._answer = answer
        self._barrier = asyncio.Barrier(together)
        self._waiting = 0
        self.most_waiting = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
        fields = dict(line.split(": ", 1) for line in lines[1:-2])
        await reader.readexactly(int(fields["content-length"]))
        self._waiting += 1
        self.most_waiting = max(self.most_waiting, self._waiting)
        await self._barrier.wait()
        self._waiting -= 1
        head = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: application/json\r\n"
        writer.write(head + b"content-length: %d\r\n\r\n" % len(self._answer) + self._answer)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def ask_all(self, monkeypatch: pytest.MonkeyPatch, *prompts: str) -> list[str]:
        async with await asyncio.start_server(self.serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{port}/v1")
            async with loaded() as model, asyncio.timeout(60):
                return await ask_all(model, *prompts)


async def test_rows_are_asked_together_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = b'{"choices":[{"finish_reason":"stop","message":{"content":"met"}}]}'
    endpoint = Endpoint(answer, together=ACCEPTED_TOGETHER)
    prompts = [f"row {number}" for number in range(3 * ACCEPTED_TOGETHER)]
    assert await endpoint.ask_all(monkeypatch, *prompts) == ["met"] * len(prompts)
    assert endpoint.most_waiting == ACCEPTED_TOGETHER


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"<html>", "[error] the provider's answer cannot be read"),
        (b'"text"', "[error] the provider's answer is no chat completion"),
        (b'{"choices":[]}', "[error] the provider's answer is no chat completion"),
        (b'{"choices":["x"]}', "[error] the provider's answer is no chat completion"),
        (b'{"choices":[{}]}', "[error] the provider's answer is no chat completion"),
        (b'{"choices":7}', "[error] the provider's answer is no chat completion"),
        (
            b'{"choices":[{"message":{"content":[1]}}]}',
            "[error] the answer has no text (finish_reason None)",
        ),
        (
            b'{"choices":[{"message":{"content":null},"finish_reason":"length"}]}',
            "[error] the answer has no text (finish_reason length)",
        ),
        (b'{"choices":[{"message":{"content":null,"refusal":"No."}}]}', "No."),
        (b'{"choices":[{"message":{"content":""}}]}', ""),
    ],
)
async def test_odd_answers_are_read_or_told(
    monkeypatch: pytest.MonkeyPatch, body: bytes, expected: str
) -> None:
    assert await Endpoint(body).ask_all(monkeypatch, "Hi") == [expected]
