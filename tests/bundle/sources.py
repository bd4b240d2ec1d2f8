"""Source texts of small projects, and the zips made of them."""

import zipfile
from collections.abc import Mapping
from pathlib import Path

INFERENCE = """
import numpy as np
from mac.config.inference import CustomInferenceConfig
from mac.inference import Inference
from mac.inference.creation import InferenceBuilder
from mac.types import InferenceData


class Scaler:
    def __init__(self, factor):
        self.factor = factor


class ScalerInference(Inference):
    @property
    def expected_model_types(self):
        return {Scaler}

    @Inference.model.setter
    def model(self, model):
        self._raise_error_if_model_is_wrong_type(model)
        self._model = model

    def _predict(self, input_data: InferenceData) -> InferenceData:
        return {"y": input_data["x"] * self.model.factor}
"""

BUILDER = """

class ScalerBuilder(InferenceBuilder):
    @property
    def inference(self) -> ScalerInference:
        return ScalerInference()

    def create(self, config: CustomInferenceConfig) -> ScalerInference:
        inference = self.inference
        inference.model = Scaler(float((config.model_path / "factor.txt").read_text()))
        return inference
"""

PROJECT = INFERENCE + BUILDER
"""Multiplies ``x`` by the number in ``factor.txt``."""

FILES = {"custom_inference.py": PROJECT, "factor.txt": "3", "requirements.txt": ""}


def write_zip(path: Path, files: Mapping[str, str | bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def write_folder(path: Path, files: Mapping[str, str | bytes]) -> Path:
    for name, content in files.items():
        target = path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)
    return path
