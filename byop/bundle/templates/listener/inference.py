"""Scores generated text, between 0 and 1, and passes the text on.

As it stands the score is the share of words that are listed in ``words.txt``.
"""

from pathlib import Path
from typing import Any

import numpy as np
from mac.config.inference import CustomInferenceConfig
from mac.inference import Inference
from mac.inference.creation import InferenceBuilder
from mac.types import InferenceData


class WordScorer:
    """Rates a text by the words in it."""

    def __init__(self, words: set[str]) -> None:
        self._words = words

    def score(self, text: str) -> float:
        """Return the share of listed words, 0 for a text without words."""
        words = text.lower().split()
        return sum(word.strip(".,;:!?") in self._words for word in words) / max(len(words), 1)


class ListenerInference(Inference):
    """Adds ``score`` to each row."""

    @property
    def expected_model_types(self) -> set[Any]:
        """The one type that ``model`` may have."""
        return {WordScorer}

    @Inference.model.setter
    def model(self, model: WordScorer) -> None:
        """Take the model after checking its type."""
        self.raise_error_if_model_is_wrong_type(model)
        self._model = model

    def _predict(self, input_data: InferenceData) -> InferenceData:
        texts = input_data["generated_text"]
        # A provider that failed on a row gives no text for it.
        scores = [self._model.score("" if text is None else str(text)) for text in texts]
        return {"generated_text": texts, "score": np.array(scores, dtype=np.float32)}


class ListenerInferenceBuilder(InferenceBuilder):
    """Loads the scorer from the unpacked zip."""

    @property
    def inference(self) -> ListenerInference:
        """A new inference."""
        return ListenerInference()

    def create(self, config: CustomInferenceConfig) -> ListenerInference:
        """Return the inference; artifacts lie below ``config.model_path``."""
        text = (Path(config.model_path) / "words.txt").read_text(encoding="utf-8")
        inference = self.inference
        inference.model = WordScorer(set(text.lower().split()))
        return inference
