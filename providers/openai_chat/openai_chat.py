"""Answers each row's ``text`` with a chat model behind the OpenAI protocol."""

import asyncio
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import openai
from mac.config.inference import CustomInferenceConfig
from mac.exceptions import InferenceDataValidationError
from mac.inference import AsyncInference
from mac.inference.creation import InferenceBuilder
from mac.types import InferenceData
from openai.types.chat import ChatCompletion, ChatCompletionMessage
from openai.types.chat.chat_completion import Choice

DEFAULT_MODEL = "gpt-4o-mini"
CONCURRENT_ROWS = 16
ROW_DEADLINE_S = 90.0
TRY_TIMEOUT_S = 60.0
RETRIES = 2

_REFUSALS = frozenset({401, 403, 404})
_WITHOUT_MESSAGE = frozenset({401, 403})  # these like to quote a part of the key
_LONGEST_MESSAGE = 300


class ConfigurationError(RuntimeError):
    """The deployment cannot work as it is: a variable is missing or the provider refuses it."""


@dataclass(frozen=True)
class Failure:
    """Why a row has no answer, in plain text: the client's exceptions hold the key."""

    reason: str
    status: int | None = None


NOTHING_ASKED = Failure("the text is null")


@dataclass(frozen=True)
class ChatModel:
    """The client and the name of the model that it asks."""

    client: openai.AsyncOpenAI
    name: str


class OpenAiChatInference(AsyncInference):
    """``text`` -> ``text``, ``generated_text``."""

    def __init__(self) -> None:
        super().__init__()
        self._slots = asyncio.Semaphore(CONCURRENT_ROWS)

    @property
    def expected_model_types(self) -> set[Any]:
        """The one type that ``model`` may have."""
        return {ChatModel}

    @AsyncInference.model.setter
    def model(self, model: ChatModel) -> None:
        """Take the model once it is the right one."""
        self._raise_error_if_model_is_wrong_type(model)
        self._model = model

    async def _predict(self, input_data: InferenceData) -> InferenceData:
        if "text" not in input_data:
            raise InferenceDataValidationError("needs the column 'text'")
        prompts = input_data["text"]
        outcomes = await asyncio.gather(*(self._answer(prompt) for prompt in prompts.tolist()))
        raise_if_refused(outcomes)
        answers = np.empty(len(outcomes), dtype=object)
        answers[:] = [
            f"[error] {outcome.reason}" if isinstance(outcome, Failure) else outcome
            for outcome in outcomes
        ]
        return {"text": prompts, "generated_text": answers}

    async def _answer(self, prompt: str | None) -> str | Failure:
        if prompt is None:
            return NOTHING_ASKED
        async with self._slots:
            try:
                return await asyncio.wait_for(ask(self.model, str(prompt)), ROW_DEADLINE_S)
            except asyncio.TimeoutError:  # noqa: UP041 - another class before Python 3.11
                return Failure(f"no answer within {ROW_DEADLINE_S:g} s")


class OpenAiChatInferenceBuilder(InferenceBuilder):
    """Makes the client from the deployment's variables."""

    @property
    def inference(self) -> OpenAiChatInference:
        """An Inference without its model."""
        return OpenAiChatInference()

    def create(self, config: CustomInferenceConfig) -> OpenAiChatInference:
        """Return the Inference, ready to answer; nothing is sent yet.

        Raises:
            ConfigurationError: OPENAI_API_KEY is missing or cannot be sent.
        """
        del config
        inference = self.inference
        client = openai.AsyncOpenAI(
            api_key=require_key(),
            base_url=os.environ.get("OPENAI_BASE_URL") or None,
            timeout=TRY_TIMEOUT_S,
            max_retries=RETRIES,
        )
        name = os.environ.get("OPENAI_MODEL") or DEFAULT_MODEL
        inference.model = ChatModel(client, name)
        return inference


def require_variable(name: str) -> str:
    """Return the environment variable; ConfigurationError when it is missing or empty."""
    value = os.environ.get(name, "").strip()
    if not value:
        raise ConfigurationError(f"{name} is not set: give it in sidekick_env at deployment")
    return value


def require_key() -> str:
    """Return the API key; ConfigurationError when it is missing or cannot be sent."""
    key = require_variable("OPENAI_API_KEY")
    if not (key.isascii() and key.isprintable()):
        raise ConfigurationError("OPENAI_API_KEY holds characters that no HTTP header can carry")
    return key


async def ask(model: ChatModel, prompt: str) -> str | Failure:
    """Return the model's answer, or why there is none."""
    try:
        completion = await model.client.chat.completions.create(
            model=model.name, messages=[{"role": "user", "content": prompt}]
        )
    except openai.APIStatusError as error:
        return _explain_status(error, model.client.api_key)
    except openai.APITimeoutError:
        return Failure("the provider did not answer in time")
    except openai.APIConnectionError:
        return Failure("the provider cannot be reached")
    except (openai.OpenAIError, ValueError):
        return Failure("the provider's answer cannot be read")
    return read_answer(completion)


def read_answer(completion: object) -> str | Failure:
    """Return the text of the first choice; a refusal is the model's answer too.

    The client does not check what an endpoint sends, so this does.
    """
    match completion:
        case ChatCompletion(choices=[Choice(message=ChatCompletionMessage() as message), *_]):
            texts = [text for text in (message.content, message.refusal) if text is not None]
        case _:
            return Failure("the provider's answer is no chat completion")
    if texts and isinstance(texts[0], str):
        return texts[0]
    reason = str(completion.choices[0].finish_reason)[:40]
    return Failure(f"the answer has no text (finish_reason {reason})")


def raise_if_refused(outcomes: Sequence[str | Failure]) -> None:
    """Raise ConfigurationError when the provider refused every row for what no retry cures."""
    sent = [outcome for outcome in outcomes if outcome is not NOTHING_ASKED]
    refused = [one for one in sent if isinstance(one, Failure) and one.status in _REFUSALS]
    if sent and len(refused) == len(sent):
        raise ConfigurationError(
            f"{refused[0].reason}. Check OPENAI_API_KEY, OPENAI_BASE_URL and OPENAI_MODEL of the "
            "deployment"
        )


def _explain_status(error: openai.APIStatusError, api_key: str) -> Failure:
    reason = f"the provider answered {error.status_code}"
    if re.fullmatch(r"\w{1,64}", str(error.code)) and error.code is not None:
        reason += f" ({error.code})"
    body = error.body if isinstance(error.body, dict) else {}
    message = body.get("message")
    if error.status_code not in _WITHOUT_MESSAGE and isinstance(message, str):
        reason += f": {' '.join(message.split())}"
    return Failure(reason.replace(api_key, "***")[:_LONGEST_MESSAGE], error.status_code)
