"""Every zip shape and builder idiom of reference/wallaroo-sdk.md section 3, really loaded."""

from pathlib import Path

import pytest

from tests.bundle.conftest import Predict
from tests.bundle.sources import BUILDER, FILES, INFERENCE, PROJECT, write_zip

BATCH = {"x": [1.0, 2.0]}
TRIPLED = {"y": [3.0, 6.0]}

AS_CLASS = PROJECT.replace("return ScalerInference()", "return ScalerInference").replace(
    "inference = self.inference\n", "inference = self.inference()\n"
)
JUST_BUILDER = (
    "from mac.config.inference import CustomInferenceConfig\n"
    "from mac.inference.creation import InferenceBuilder\n"
    "{imports}\n" + BUILDER
)


def builder_importing(line: str) -> str:
    return JUST_BUILDER.format(imports=line)


SHAPES: dict[str, dict[str, str]] = {
    "files at the root": FILES,
    "one top folder": {f"scaler/{name}": text for name, text in FILES.items()},
    "one top folder beside macOS files": {
        **{f"scaler/{name}": text for name, text in FILES.items()},
        "__MACOSX/scaler/._custom_inference.py": "binary",
        ".DS_Store": "binary",
    },
    "requirements below": {
        "model.py": PROJECT,
        "factor.txt": "3",
        "config/requirements.txt": "",
    },
    "builder gives a class": FILES | {"custom_inference.py": AS_CLASS},
    "entry named byop.py": {"byop.py": PROJECT, "factor.txt": "3", "requirements.txt": ""},
    "entry named mac.py": {"mac.py": PROJECT, "factor.txt": "3", "requirements.txt": ""},
    "entry named as a standard module": {
        "json.py": PROJECT,
        "factor.txt": "3",
        "requirements.txt": "",
    },
    "entry with a dash": {"my-model.v2.py": PROJECT, "factor.txt": "3", "requirements.txt": ""},
    "sibling import": {
        "builder.py": builder_importing("from scaler import Scaler, ScalerInference"),
        "scaler.py": INFERENCE,
        "factor.txt": "3",
        "requirements.txt": "",
    },
    "sibling import the other way round": {
        "a_builder.py": builder_importing("import z_scaler\nfrom z_scaler import *"),
        "z_scaler.py": INFERENCE,
        "factor.txt": "3",
        "requirements.txt": "",
    },
    "author extends sys.path": {
        "builder.py": builder_importing(
            "import os, sys\nsys.path.append(os.path.dirname(__file__))\n"
            "from scaler import Scaler, ScalerInference"
        ),
        "scaler.py": INFERENCE,
        "factor.txt": "3",
        "requirements.txt": "",
    },
    "package beside the entry": {
        "builder.py": builder_importing("from parts.scaler import Scaler, ScalerInference"),
        "parts/__init__.py": "",
        "parts/scaler.py": INFERENCE,
        "factor.txt": "3",
        "requirements.txt": "",
    },
    "namespace package beside the entry": {
        "builder.py": builder_importing("from parts.scaler import Scaler, ScalerInference"),
        "parts/scaler.py": INFERENCE,
        "factor.txt": "3",
        "requirements.txt": "",
    },
    "builder imported from below": {
        "entry.py": "from parts.model import ScalerBuilder\n",
        "parts/__init__.py": "",
        "parts/model.py": PROJECT,
        "factor.txt": "3",
        "requirements.txt": "",
    },
    "builder imported by a sibling": {
        "model.py": PROJECT,
        "service.py": "from model import ScalerBuilder\n",
        "factor.txt": "3",
        "requirements.txt": "",
    },
    "artifact below the root": {
        "model.py": PROJECT.replace('"factor.txt"', '"artifacts" / "factor.txt"'),
        "artifacts/factor.txt": "3",
        "requirements.txt": "",
    },
    "path joined as text": FILES
    | {
        "custom_inference.py": "import os\n"
        + PROJECT.replace(
            '(config.model_path / "factor.txt").read_text()',
            'open(os.path.join(config.model_path, "factor.txt")).read()',
        )
    },
    "configuration read in the constructor": FILES
    | {
        "custom_inference.py": PROJECT
        + "\n    def __init__(self):\n"
        + "        assert (self.custom_config.model_path / 'factor.txt').exists()\n"
    },
    "model kept without a setter": FILES
    | {
        "custom_inference.py": PROJECT.replace("inference.model = ", "inference._model = ").replace(
            "@Inference.model.setter\n    def model(self, model)", "def unused(self, model)"
        )
    },
    "async inference": FILES
    | {
        "custom_inference.py": PROJECT.replace(
            "import Inference\n", "import AsyncInference as Inference\n"
        ).replace("def _predict", "async def _predict")
    },
    "async part of a plain inference": FILES
    | {"custom_inference.py": PROJECT.replace("def _predict", "async def _predict")},
    "dataclass with later annotations": FILES
    | {
        "custom_inference.py": "from __future__ import annotations\n"
        "from dataclasses import dataclass\n"
        + PROJECT
        + "\n\n@dataclass\nclass Extra:\n    kind: ClassVar[int] = 1\n",
    },
    "other modules at the root": FILES
    | {"another.py": "VALUE = 1\n", "train.py": "import another\n"},
}


@pytest.mark.parametrize("files", SHAPES.values(), ids=SHAPES.keys())
def test_zip_loads_and_predicts(
    tmp_path: Path, predict_from: Predict, files: dict[str, str]
) -> None:
    assert predict_from(write_zip(tmp_path / "model.zip", files), BATCH) == TRIPLED


def test_sibling_is_executed_once(tmp_path: Path, predict_from: Predict) -> None:
    marker = tmp_path / "runs"
    counted = f"open({str(marker)!r}, 'a').write('run\\n')\n{INFERENCE}"
    builder = builder_importing("from scaler import Scaler, ScalerInference")
    files = {"a.py": builder, "scaler.py": counted, "factor.txt": "3", "requirements.txt": ""}
    assert predict_from(write_zip(tmp_path / "model.zip", files), BATCH) == TRIPLED
    assert marker.read_text() == "run\n"


def test_entry_hides_no_module_of_others(tmp_path: Path, predict_from: Predict) -> None:
    entry = "import json, numpy\nassert json.dumps([1]) == '[1]'\n" + PROJECT
    files = FILES | {"custom_inference.py": entry, "json.py": "", "numpy.py": "", "byop.py": ""}
    assert predict_from(write_zip(tmp_path / "model.zip", files), BATCH) == TRIPLED


FAILURES: dict[str, tuple[dict[str, str], str]] = {
    "no builder at the root": (
        {"below/model.py": PROJECT, "notes.py": "", "requirements.txt": ""},
        "no InferenceBuilder-inherited class found in the top-level .py files",
    ),
    "two builders": (
        FILES | {"second.py": PROJECT},
        "more than one InferenceBuilder-inherited class found: ScalerBuilder, ScalerBuilder",
    ),
    "the author's code raises": (
        FILES | {"factor.txt": "three"},
        "ValueError: could not convert string to float: 'three' (custom_inference.py, line ",
    ),
    "a package is not there": (
        FILES | {"custom_inference.py": f"import nothing_of_that_name\n{PROJECT}"},
        (
            "ModuleNotFoundError: No module named 'nothing_of_that_name' (custom_inference.py, "
            "line 1). Does requirements.txt name its package?"
        ),
    ),
    "a variable is not there": (
        FILES | {"custom_inference.py": f"import os\nKEY = os.environ['SOME_KEY']\n{PROJECT}"},
        (
            "KeyError: 'SOME_KEY' (custom_inference.py, line 2). The variable is not set: give it "
            "in sidekick_env at deployment"
        ),
    ),
    "the module ends the process": (
        FILES | {"custom_inference.py": f"raise SystemExit(3)\n{PROJECT}"},
        "SystemExit: 3 (custom_inference.py, line 1)",
    ),
    "a syntax error": (
        FILES | {"other.py": "x = 1\nx = (\n"},
        "SyntaxError: '(' was never closed (other.py, line 2)",
    ),
    "create gives the class": (
        FILES
        | {"custom_inference.py": PROJECT.replace("return inference", "return ScalerInference")},
        "expected an instance of an Inference class",
    ),
    "create gives nothing": (
        FILES | {"custom_inference.py": PROJECT.replace("return inference", "return None")},
        "InferenceTypeError: create() returned None",
    ),
    "a wrong model": (
        FILES | {"custom_inference.py": PROJECT.replace("= Scaler(", "= (")},
        "TypeError: the model is a float, expected one of: Scaler",
    ),
}


@pytest.mark.parametrize(("files", "message"), FAILURES.values(), ids=FAILURES.keys())
def test_model_that_cannot_be_loaded_says_why_and_where(
    tmp_path: Path, predict_from: Predict, files: dict[str, str], message: str
) -> None:
    answer = predict_from(write_zip(tmp_path / "model.zip", files), BATCH)
    assert message in answer["failed"]


def test_project_with_openai_handlers_only_loads(tmp_path: Path, predict_from: Predict) -> None:
    chat = "def handle_chat_completion(request):\n    return {}\n"
    archive = write_zip(tmp_path / "model.zip", {"chat.py": chat, "requirements.txt": ""})
    with pytest.raises(AssertionError, match="it answers chat and completion requests only"):
        predict_from(archive, BATCH)


STEP = """from mac.types import InferenceData

{}def process_data(input_data: InferenceData) -> InferenceData:
    return {{"y": input_data["x"] * 3}}
"""


@pytest.mark.parametrize("keyword", ["", "async "])
def test_python_step_of_a_script_without_suffix(
    tmp_path: Path, predict_with_script: Predict, keyword: str
) -> None:
    script = tmp_path / "c0ffee"
    script.write_text(STEP.format(keyword))
    assert predict_with_script(script, BATCH) == TRIPLED


def test_python_step_of_a_zip(tmp_path: Path, predict_from: Predict) -> None:
    files = {
        "top/step.py": "from tools import factor\n" + STEP.format(""),
        "top/tools.py": "factor = 3",
    }
    archive = write_zip(tmp_path / "step.zip", files)
    assert predict_from(archive, BATCH, framework="python") == TRIPLED


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("x = 1\n", "no process_data(input_data: InferenceData) function found"),
        ("def process_data():\n    pass\n", "process_data() must take exactly one argument"),
        (
            "def process_data(a, b):\n    pass\n",
            "process_data(a, b) must take exactly one argument",
        ),
        ("1 / 0\n", "ZeroDivisionError: division by zero (step.py, line 1)"),
    ],
)
def test_python_step_that_cannot_be_used_says_why(
    tmp_path: Path, predict_with_script: Predict, source: str, message: str
) -> None:
    script = tmp_path / "step.py"
    script.write_text(source)
    assert message in predict_with_script(script, BATCH)["failed"]
