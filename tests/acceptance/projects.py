"""Small model projects as zips, made from their predict body."""

from pathlib import Path
from textwrap import dedent, indent

from byop.bundle.archive import pack

_MODULE = """\
import os
import signal
import time
from pathlib import Path

import numpy as np
from mac.config.inference import CustomInferenceConfig
from mac.inference import Inference
from mac.inference.creation import InferenceBuilder
from mac.types import InferenceData


class ProjectInference(Inference):
    @property
    def expected_model_types(self):
        return {{str}}

    @Inference.model.setter
    def model(self, model):
        self._raise_error_if_model_is_wrong_type(model)
        self._model = model

    def _predict(self, input_data: InferenceData) -> InferenceData:
{predict}


class ProjectInferenceBuilder(InferenceBuilder):
    @property
    def inference(self):
        return ProjectInference()

    def create(self, config: CustomInferenceConfig):
{create}
        inference = self.inference
        inference.model = "loaded"
        return inference
"""


def pack_project(
    folder: Path, name: str, *, predict: str, create: str = "pass", requirements: str = ""
) -> Path:
    """Return a zip whose ``_predict`` and the beginning of whose ``create`` are the given code."""
    project = folder / name
    project.mkdir()
    source = _MODULE.format(predict=_body(predict), create=_body(create))
    (project / "model.py").write_text(source)
    (project / "requirements.txt").write_text(requirements)
    return pack(project, folder / f"{name}.zip").path


def _body(code: str) -> str:
    return indent(dedent(code).strip(), " " * 8)
