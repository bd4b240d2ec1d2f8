"""Scores answers for profanity and toxicity, in line behind an LLM or over logged answers."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mac.config.inference import CustomInferenceConfig
from mac.exceptions import InferenceDataValidationError
from mac.inference import Inference
from mac.inference.creation import InferenceBuilder
from mac.types import InferenceData

# Not every loader makes the modules beside this one importable, linear_text among them.
sys.path.append(str(Path(__file__).parent))

from linear_text import LinearTextModel

WEIGHTS = "weights.npz"


class ToxicityInference(Inference):
    """``generated_text`` -> ``generated_text``, ``profanity``, ``toxicity``."""

    @property
    def expected_model_types(self) -> set[Any]:
        """The one type that ``model`` may have."""
        return {LinearTextModel}

    @Inference.model.setter
    def model(self, model: LinearTextModel) -> None:
        """Take the model once it is the right one."""
        self._raise_error_if_model_is_wrong_type(model)
        self._model = model

    def _predict(self, input_data: InferenceData) -> InferenceData:
        answers = require_answers(input_data)
        scores = score_answers(self.model, answers.tolist()).astype(np.float32)
        return {"generated_text": answers, "profanity": scores, "toxicity": scores}


class ToxicityInferenceBuilder(InferenceBuilder):
    """Loads the weights that lie in the zip."""

    @property
    def inference(self) -> ToxicityInference:
        """An Inference without its model."""
        return ToxicityInference()

    def create(self, config: CustomInferenceConfig) -> ToxicityInference:
        """Return the Inference, ready to score."""
        inference = self.inference
        inference.model = LinearTextModel.load(Path(config.model_path) / WEIGHTS)
        return inference


def require_answers(input_data: InferenceData) -> np.ndarray:
    """Return the answers to score.

    Raises:
        InferenceDataValidationError: There are none, or not as many as prompts.
    """
    if "generated_text" not in input_data:
        got = ", ".join(sorted(input_data)) or "nothing"
        raise InferenceDataValidationError(f"needs the column 'generated_text', got {got}")
    answers = input_data["generated_text"]
    prompts = input_data.get("text", answers)
    if len(prompts) != len(answers):
        raise InferenceDataValidationError(
            f"{len(prompts)} rows of 'text' and {len(answers)} of 'generated_text'"
        )
    return answers


def score_answers(model: LinearTextModel, answers: Sequence[str | None]) -> np.ndarray:
    """Return each answer's probability; NaN where there is no answer (null)."""
    given = [position for position, answer in enumerate(answers) if answer is not None]
    scores = np.full(len(answers), np.nan)
    scores[given] = model.score([str(answers[position]) for position in given])
    return scores
