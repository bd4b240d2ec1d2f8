"""The stand-in as the official client sees it, over real sockets."""

from collections.abc import Callable, Iterator

import openai
import pytest
import requests

from byop.sandbox import Rule, Sandbox, Script
from byop.sandbox.http_exchange import MAX_BODY_BYTES

KEY = "sk-sandbox-for-tests"
SCRIPT = Script(
    rules=(
        Rule(contains="weather", answer="Sunny all day."),
        Rule(matches=r"^busy\b", status=429, retry_after_s=0.001, times=1),
        Rule(contains="always busy", status=429, message="Slow down.", retry_after_s=7),
        Rule(contains="no money", status=429, code="insufficient_quota"),
        Rule(contains="broken", status=500),
        Rule(contains="slow", latency_s=60),
    )
)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(api_key=KEY, script=SCRIPT) as running:
        yield running


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key=KEY, base_url=sandbox.base_url, max_retries=0) as made:
        yield made


@pytest.fixture
def post(sandbox: Sandbox) -> Callable[..., requests.Response]:
    """Sends bytes that the official client would not send."""

    def send(body: bytes, path: str = "/chat/completions") -> requests.Response:
        headers = {"authorization": f"Bearer {KEY}"}
        return requests.post(sandbox.base_url + path, data=body, headers=headers, timeout=30)

    return send


def ask(client: openai.OpenAI, text: str) -> str | None:
    answer = client.chat.completions.create(
        model="any", messages=[{"role": "user", "content": text}]
    )
    return answer.choices[0].message.content


def test_same_prompt_gets_the_same_answer_and_another_prompt_another(
    client: openai.OpenAI,
) -> None:
    first = client.chat.completions.create(
        model="any", messages=[{"role": "user", "content": "What happened to the Serge llama?"}]
    )
    again = client.chat.completions.create(
        model="any", messages=[{"role": "user", "content": "What happened to the Serge llama?"}]
    )
    assert again.model_dump() == first.model_dump()
    assert "What happened to the Serge llama" in (first.choices[0].message.content or "")
    assert ask(client, "How are you doing?") != first.choices[0].message.content


def test_usage_adds_up(client: openai.OpenAI) -> None:
    usage = client.chat.completions.create(
        model="any", messages=[{"role": "user", "content": "one two three!"}]
    ).usage
    assert usage is not None
    assert usage.prompt_tokens == len(["user", ":", "one", "two", "three", "!"])
    assert usage.completion_tokens > 0
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


def test_stream_carries_the_whole_answer_and_ends_with_usage(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(
        model="any", messages=[{"role": "user", "content": "Hello"}]
    )
    chunks = list(
        client.chat.completions.create(
            model="any",
            messages=[{"role": "user", "content": "Hello"}],
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    texts = [chunk.choices[0].delta.content or "" for chunk in chunks[:-1]]
    assert "".join(texts) == whole.choices[0].message.content
    assert len([text for text in texts if text]) > 1
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage == whole.usage
    assert {chunk.id for chunk in chunks} == {whole.id}


def test_stream_without_include_usage_has_no_usage_and_ends_with_done(
    post: Callable[..., requests.Response],
) -> None:
    answer = post(b'{"model":"m","stream":true,"messages":[{"role":"user","content":"Hi"}]}')
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert b"usage" not in answer.content
    assert answer.content.endswith(b"\n\ndata: [DONE]\n\n")


def test_legacy_completions_answer_every_prompt(client: openai.OpenAI) -> None:
    answer = client.completions.create(model="any", prompt=["first", "second"], n=2)
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert [("first" in c.text, "second" in c.text) for c in answer.choices] == [
        (True, False),
        (True, False),
        (False, True),
        (False, True),
    ]


def test_legacy_completions_stream(client: openai.OpenAI) -> None:
    whole = client.completions.create(model="any", prompt="first")
    chunks = list(client.completions.create(model="any", prompt="first", stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole.choices[0].text


def test_max_tokens_cuts_the_answer(client: openai.OpenAI) -> None:
    choice = client.chat.completions.create(
        model="any", messages=[{"role": "user", "content": "weather"}], max_completion_tokens=2
    ).choices[0]
    assert (choice.message.content, choice.finish_reason) == ("Sunny all", "length")


def test_stop_sequence_ends_the_answer(client: openai.OpenAI) -> None:
    choice = client.chat.completions.create(
        model="any", messages=[{"role": "user", "content": "weather"}], stop=[" day"]
    ).choices[0]
    assert (choice.message.content, choice.finish_reason) == ("Sunny all", "stop")


def test_rule_looks_at_the_last_user_message(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="any",
        messages=[
            {"role": "user", "content": "broken"},
            {"role": "assistant", "content": "sorry"},
            {"role": "user", "content": [{"type": "text", "text": "and the weather?"}]},
        ],
    )
    assert answer.choices[0].message.content == "Sunny all day."


def test_models_are_listed(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["gpt-4o", "gpt-4o-mini"]
    assert client.models.retrieve("gpt-4o").id == "gpt-4o"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-0")


def test_wrong_key_is_401_and_not_repeated_in_the_answer(sandbox: Sandbox) -> None:
    with openai.OpenAI(api_key="sk-wrong-key", base_url=sandbox.base_url) as client:
        with pytest.raises(openai.AuthenticationError) as caught:
            ask(client, "Hi")
        assert caught.value.code == "invalid_api_key"
        assert "wrong-key" not in caught.value.response.text


def test_missing_key_is_401(sandbox: Sandbox) -> None:
    answer = requests.get(f"{sandbox.base_url}/models", timeout=30)
    assert answer.status_code == 401
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_failure_with_times_passes_and_the_client_retries(sandbox: Sandbox) -> None:
    with openai.OpenAI(api_key=KEY, base_url=sandbox.base_url, max_retries=1) as client:
        assert ask(client, "busy at first")
    tries = [one for one in sandbox.requests if b"busy at first" in one.body]
    assert [one.headers["x-stainless-retry-count"] for one in tries] == ["0", "1"]


def test_scripted_rate_limit_has_the_protocols_shape(client: openai.OpenAI) -> None:
    with pytest.raises(openai.RateLimitError) as caught:
        ask(client, "always busy")
    assert caught.value.code == "rate_limit_exceeded"
    assert caught.value.response.headers["retry-after"] == "7"
    assert "Slow down." in str(caught.value)


def test_scripted_code_wins_over_the_usual_one(client: openai.OpenAI) -> None:
    with pytest.raises(openai.RateLimitError) as caught:
        ask(client, "no money")
    assert (caught.value.code, caught.value.type) == ("insufficient_quota", "insufficient_quota")


def test_scripted_server_error(client: openai.OpenAI) -> None:
    with pytest.raises(openai.InternalServerError) as caught:
        ask(client, "broken")
    assert caught.value.type == "server_error"


def test_latency_outlasts_the_clients_patience(client: openai.OpenAI) -> None:
    with pytest.raises(openai.APITimeoutError):
        ask(client.with_options(timeout=0.2), "slow")


def test_unknown_model_of_a_script_with_models_is_404() -> None:
    with (
        Sandbox(api_key=KEY, script=Script(models=("only-one",))) as sandbox,
        openai.OpenAI(api_key=KEY, base_url=sandbox.base_url) as client,
    ):
        with pytest.raises(openai.NotFoundError) as caught:
            ask(client, "Hi")
        assert caught.value.code == "model_not_found"
        assert [model.id for model in client.models.list()] == ["only-one"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", None),
        (b"{", None),
        (b"[]", None),
        (b'"text"', None),
        (b"\xff\xfe", None),
        (b'{"model":"m"}', "messages"),
        (b'{"model":"m","messages":[]}', "messages"),
        (b'{"model":"m","messages":"Hi"}', "messages"),
        (b'{"model":"m","messages":["Hi"]}', "messages[0]"),
        (b'{"model":"m","messages":[{"content":"Hi"}]}', "messages[0].role"),
        (b'{"model":"m","messages":[{"role":"user","content":7}]}', "messages[0].content"),
        (b'{"messages":[{"role":"user","content":"Hi"}]}', "model"),
        (b'{"model":"m","n":0,"messages":[{"role":"user","content":"Hi"}]}', "n"),
        (b'{"model":"m","n":1000,"messages":[{"role":"user","content":"Hi"}]}', "n"),
        (b'{"model":"m","stop":[1],"messages":[{"role":"user","content":"Hi"}]}', "stop"),
        (b'{"model":"m","stream":1,"messages":[{"role":"user","content":"Hi"}]}', "stream"),
    ],
)
def test_malformed_chat_request_is_400_and_names_the_field(
    post: Callable[..., requests.Response], body: bytes, param: str | None
) -> None:
    answer = post(body)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert error["message"]


def test_completion_without_a_text_prompt_is_400(post: Callable[..., requests.Response]) -> None:
    for body in (b'{"model":"m"}', b'{"model":"m","prompt":[1,2]}'):
        answer = post(body, "/completions")
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "prompt")


def test_body_over_the_limit_is_413(post: Callable[..., requests.Response]) -> None:
    answer = post(b" " * (MAX_BODY_BYTES + 1))
    assert answer.status_code == 413
    assert "larger than" in answer.json()["error"]["message"]


def test_unknown_path_is_404_in_the_protocols_shape(
    post: Callable[..., requests.Response],
) -> None:
    answer = post(b"{}", "/nothing")
    assert answer.status_code == 404
    assert answer.json()["error"]["message"] == "Invalid URL (POST /v1/nothing)"
