"""The class that an author's builder derives from."""

from abc import ABC, abstractmethod
from typing import Any

from byop.sdk.config import CustomInferenceConfig
from byop.sdk.inference import AsyncInference, Inference

__all__ = ["InferenceBuilder"]


class InferenceBuilder(ABC):
    """Loads a model and assigns it to an Inference. One per project."""

    _custom_config: CustomInferenceConfig | None = None

    @property
    @abstractmethod
    def inference(self) -> Any:  # noqa: ANN401  # authors return a class or an instance
        """The author's Inference: the class, or an instance of it."""

    @abstractmethod
    def create(self, config: CustomInferenceConfig) -> Inference | AsyncInference:
        """Return the Inference with its model, loaded from below ``config.model_path``."""

    @property
    def custom_config(self) -> CustomInferenceConfig | None:
        """What ``create`` will be given; the loader sets it before the builder is made."""
        return self._custom_config

    @custom_config.setter
    def custom_config(self, config: CustomInferenceConfig | None) -> None:
        self._custom_config = config
