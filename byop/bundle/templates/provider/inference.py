"""Sends each prompt to an LLM hosted elsewhere and returns its answer.

Replace ``_payload`` and ``_answer_in`` by what your provider's API expects and returns.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import requests
from mac.config.inference import CustomInferenceConfig
from mac.inference import Inference
from mac.inference.creation import InferenceBuilder
from mac.types import InferenceData

_CONCURRENT_ROWS = 16


class HostedModel:
    """The hosted LLM: its address and the credential that opens it."""

    def __init__(self, url: str, api_key: str, timeout_s: float) -> None:
        self._url = url
        self._headers = {"Authorization": f"Bearer {api_key}"}
        self._timeout_s = timeout_s

    def answer(self, prompt: str) -> str:
        """Return the answer to one prompt. Raises requests.RequestException."""
        response = requests.post(
            self._url, json=_payload(prompt), headers=self._headers, timeout=self._timeout_s
        )
        response.raise_for_status()
        return _answer_in(response.json())


class HostedInference(Inference):
    """Answers a batch, its rows at the same time."""

    @property
    def expected_model_types(self) -> set[Any]:
        """The one type that ``model`` may have."""
        return {HostedModel}

    @Inference.model.setter
    def model(self, model: HostedModel) -> None:
        """Take the model after checking its type."""
        self.raise_error_if_model_is_wrong_type(model)
        self._model = model

    def _predict(self, input_data: InferenceData) -> InferenceData:
        prompts = [str(prompt) for prompt in input_data["text"]]
        with ThreadPoolExecutor(_CONCURRENT_ROWS) as pool:
            answers = list(pool.map(self._model.answer, prompts))
        return {
            "text": np.array(prompts, dtype=object),
            "generated_text": np.array(answers, dtype=object),
        }


class HostedInferenceBuilder(InferenceBuilder):
    """Reads the credential from the deployment's environment."""

    @property
    def inference(self) -> HostedInference:
        """A new inference."""
        return HostedInference()

    def create(self, config: CustomInferenceConfig) -> HostedInference:
        """Return the inference; ``config.model_path`` is the unpacked zip."""
        del config
        inference = self.inference
        inference.model = HostedModel(
            url=os.environ["PROVIDER_URL"],
            api_key=os.environ["PROVIDER_API_KEY"],
            timeout_s=float(os.environ.get("PROVIDER_TIMEOUT_S", "60")),
        )
        return inference


def _payload(prompt: str) -> dict[str, Any]:
    return {"prompt": prompt, "max_tokens": 200}


def _answer_in(body: dict[str, Any]) -> str:
    return str(body["generated_text"])
