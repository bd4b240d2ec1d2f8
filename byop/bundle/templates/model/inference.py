"""A linear model over ``tensor``: replace it by your own."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from mac.config.inference import CustomInferenceConfig
from mac.inference import Inference
from mac.inference.creation import InferenceBuilder
from mac.types import InferenceData


class LinearModel:
    """Weights and an offset."""

    def __init__(self, weights: list[float], offset: float) -> None:
        self._weights = np.array(weights, dtype=np.float32)
        self._offset = np.float32(offset)

    def predict(self, rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return one number per row of ``rows``, shaped (rows, weights)."""
        return rows @ self._weights + self._offset


class LinearInference(Inference):
    """Predicts one number per row."""

    @property
    def expected_model_types(self) -> set[Any]:
        """The one type that ``model`` may have."""
        return {LinearModel}

    @Inference.model.setter
    def model(self, model: LinearModel) -> None:
        """Take the model after checking its type."""
        self.raise_error_if_model_is_wrong_type(model)
        self._model = model

    def _predict(self, input_data: InferenceData) -> InferenceData:
        return {"prediction": self._model.predict(input_data["tensor"])}


class LinearInferenceBuilder(InferenceBuilder):
    """Loads the weights from the unpacked zip."""

    @property
    def inference(self) -> LinearInference:
        """A new inference."""
        return LinearInference()

    def create(self, config: CustomInferenceConfig) -> LinearInference:
        """Return the inference; artifacts lie below ``config.model_path``."""
        stored = json.loads((Path(config.model_path) / "weights.json").read_text(encoding="utf-8"))
        inference = self.inference
        inference.model = LinearModel(stored["weights"], stored["offset"])
        return inference
