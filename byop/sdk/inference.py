"""The classes that an author's inference derives from.

They answer to reference/wallaroo-sdk.md section 3 and seed 001, "Arbitrary Python Script
Requirements" (read 2025-11): ``model`` is a property without a setter, so that a subclass writes
its own with ``@Inference.model.setter``.
"""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from byop.sdk.exceptions import InferenceDataValidationError, ModelNotAssignedError
from byop.sdk.types import InferenceData

__all__ = ["AsyncInference", "Inference"]


class _ModelHolder(ABC):
    """Holds the model and checks it. ``_model`` works without calling ``super().__init__()``."""

    _model: Any = None

    def __init__(self) -> None:
        self._model = None

    @property
    @abstractmethod
    def expected_model_types(self) -> set[Any]:
        """Types of which the model must be one."""

    @property
    def model(self) -> Any:  # noqa: ANN401  # any object can be a model
        """The model, None before one is assigned."""
        return self._model

    def raise_error_if_model_is_not_assigned(self) -> None:
        """Raise ModelNotAssignedError when there is no model."""
        if self._model is None:
            raise ModelNotAssignedError

    def raise_error_if_model_is_wrong_type(self, model: object) -> None:
        """Raise TypeError when ``model`` is of none of the expected types."""
        declared = self.expected_model_types
        expected = declared() if callable(declared) else declared
        if not isinstance(model, tuple(expected)):
            names = ", ".join(sorted(getattr(kind, "__name__", str(kind)) for kind in expected))
            raise TypeError(f"the model is a {type(model).__name__}, expected one of: {names}")

    _raise_error_if_model_is_not_assigned = raise_error_if_model_is_not_assigned
    _raise_error_if_model_is_wrong_type = raise_error_if_model_is_wrong_type

    def _require_usable(self, input_data: InferenceData) -> None:
        self.raise_error_if_model_is_not_assigned()
        if not isinstance(input_data, dict):
            raise InferenceDataValidationError(
                f"input data is a {type(input_data).__name__}, expected a dictionary of arrays"
            )
        for name, values in input_data.items():
            if not isinstance(values, np.ndarray):
                raise InferenceDataValidationError(
                    f"input {name!r} is a {type(values).__name__}, expected a numpy array"
                )


class Inference(_ModelHolder):
    """A model that predicts one batch at a time."""

    def predict(self, input_data: InferenceData) -> InferenceData:
        """Return the author's answer.

        Raises:
            ModelNotAssignedError: No model is assigned.
            InferenceDataValidationError: The input is no dictionary of numpy arrays.
        """
        self._require_usable(input_data)
        return self._predict(input_data)

    @abstractmethod
    def _predict(self, input_data: InferenceData) -> InferenceData:
        """Return the answer to one batch: the author's part."""


class AsyncInference(_ModelHolder):
    """A model that waits for others, so that many batches run at the same time."""

    async def predict(self, input_data: InferenceData) -> InferenceData:
        """Return the author's answer; errors as ``Inference.predict``."""
        self._require_usable(input_data)
        return await self._predict(input_data)

    @abstractmethod
    async def _predict(self, input_data: InferenceData) -> InferenceData:
        """Return the answer to one batch: the author's part."""
