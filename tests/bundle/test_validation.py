import os
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest

from byop.bundle.validation import (
    ALL_SOURCES_LIMIT_BYTES,
    SEARCHED_LIMIT_BYTES,
    SOURCE_LIMIT_BYTES,
    TEXT_LIMIT_BYTES,
    ProjectSource,
    open_project,
    recognise,
    validate_archive,
    validate_folder,
    validate_source,
)
from byop.domain.models import Framework
from byop.errors import InvalidArchiveError, InvalidBundleError
from tests.bundle.sources import BUILDER, FILES, INFERENCE, PROJECT, write_folder, write_zip

IMPORTS = INFERENCE.partition("class Scaler:")[0]

NO_REQUIREMENTS = (
    "Framework.CUSTOM requires a requirements.txt to be included within the uploaded .zip file"
)
NO_INFERENCE = "No Inference-inherited class found in the model directory"
NO_BUILDER = "No InferenceBuilder-inherited class found in the model directory"
ONLY_ACCEPT = "The Inference class's predict method may only accept a dictionary of numpy arrays."
ONLY_RETURN = "The Inference class's predict method may only return a dictionary of numpy arrays."


def renamed(old: str, new: str) -> str:
    assert old in PROJECT
    return PROJECT.replace(old, new)


def predicting(signature: str) -> str:
    return renamed("def _predict(self, input_data: InferenceData) -> InferenceData:", signature)


def second(kind: str) -> str:
    return f"\n\nclass Second{kind}({kind}):\n    pass\n"


BROKEN = {
    "only a builder": (IMPORTS + BUILDER, NO_INFERENCE),
    "no code at all": ("", NO_INFERENCE),
    "only an inference": (INFERENCE, NO_BUILDER),
    "builder without inference": (
        renamed("def inference(self)", "def something(self)"),
        "The InferenceBuilder class must contain the inference method.",
    ),
    "builder without create": (
        renamed("def create(", "def make("),
        "The InferenceBuilder class must contain the create method.",
    ),
    "two builders": (
        PROJECT + second("InferenceBuilder"),
        (
            "Multiple InferenceBuilder-inherited classes found: "
            "['ScalerBuilder', 'SecondInferenceBuilder']."
        ),
    ),
    "two inferences": (
        PROJECT + second("Inference"),
        "Multiple Inference-inherited classes found: ['ScalerInference', 'SecondInference'].",
    ),
    "inference without predict": (
        renamed("def _predict(", "def answer("),
        "The Inference class must contain the predict method.",
    ),
    "inference without types": (
        renamed("def expected_model_types(", "def types("),
        "The Inference class must contain the expected_model_types method.",
    ),
    "input of another type": (predicting("def _predict(self, input_data: list):"), ONLY_ACCEPT),
    "input of one array": (predicting("def _predict(self, input_data: np.ndarray):"), ONLY_ACCEPT),
    "input of lists": (predicting("def _predict(self, input_data: dict[str, list]):"), ONLY_ACCEPT),
    "input without annotation": (predicting("def _predict(self, input_data):"), ONLY_ACCEPT),
    "input annotated by no expression": (
        predicting("def _predict(self, input_data: 'dict['):"),
        ONLY_ACCEPT,
    ),
    "values annotated by no expression": (
        predicting("def _predict(self, input_data: dict[str, 'np.']):"),
        ONLY_ACCEPT,
    ),
    "no input": (predicting("def _predict(self):"), ONLY_ACCEPT),
    "output of another type": (
        predicting("def _predict(self, input_data: InferenceData) -> np.ndarray:"),
        ONLY_RETURN,
    ),
    "output of optional data": (
        predicting("def _predict(self, input_data: InferenceData) -> InferenceData | None:"),
        ONLY_RETURN,
    ),
}


@pytest.mark.parametrize(("source", "summary"), BROKEN.values(), ids=BROKEN.keys())
def test_broken_project_gives_the_documented_text(
    tmp_path: Path, source: str, summary: str
) -> None:
    archive = write_zip(tmp_path / "model.zip", FILES | {"custom_inference.py": source})
    with pytest.raises(InvalidBundleError) as raised:
        validate_archive(archive, Framework.CUSTOM)
    assert str(raised.value) == summary
    assert raised.value.facts["summary"] == summary


@pytest.mark.parametrize("source", ["", PROJECT, "this is no python"])
def test_missing_requirements_are_told_before_anything_else(tmp_path: Path, source: str) -> None:
    archive = write_zip(tmp_path / "model.zip", {"custom_inference.py": source})
    with pytest.raises(InvalidBundleError) as raised:
        validate_archive(archive, Framework.CUSTOM)
    assert str(raised.value) == NO_REQUIREMENTS


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04 half a zip"])
def test_file_that_is_no_zip_gives_the_documented_text(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.zip"
    path.write_bytes(content)
    with pytest.raises(InvalidArchiveError) as raised:
        validate_archive(path, Framework.CUSTOM)
    assert str(raised.value) == "Bad request: Not a valid ZIP file."


ACCEPTED = {
    "as documented": PROJECT,
    "no return annotation": predicting("def _predict(self, input_data: InferenceData):"),
    "annotations as text": predicting(
        "def _predict(self, input_data: 'InferenceData') -> 'dict[str, np.ndarray]':"
    ),
    "dictionary of arrays": predicting(
        "def _predict(self, input_data: dict[str, np.ndarray]) -> dict[str, 'np.ndarray']:"
    ),
    "generic arrays": predicting(
        "def _predict(self, input_data: Dict[str, NDArray[np.float32]]) -> Dict[str, NDArray]:"
    ),
    "plain dictionary": predicting("def _predict(self, input_data: dict) -> dict:"),
    "module prefix": predicting("def _predict(self, input_data: mac.types.InferenceData):"),
    "own alias": "Rows = dict[str, 'np.ndarray']\n"
    + predicting("def _predict(self, input_data: Rows) -> Rows:"),
    "imported under another name": PROJECT.replace(
        "import InferenceData", "import InferenceData as Rows"
    ).replace(": InferenceData", ": Rows"),
    "classes imported under other names": PROJECT.replace(
        "import Inference\n", "import Inference as A\n"
    )
    .replace("import InferenceBuilder", "import InferenceBuilder as B")
    .replace("ScalerInference(Inference)", "ScalerInference(A)")
    .replace("Builder(InferenceBuilder)", "Builder(B)"),
    "bases by module": PROJECT.replace("(Inference)", "(mac.inference.Inference)").replace(
        "(InferenceBuilder)", "(mac.inference.creation.InferenceBuilder)"
    ),
    "async": PROJECT.replace("(Inference)", "(AsyncInference)").replace(
        "def _predict", "async def _predict"
    ),
    "members by assignment": renamed(
        "    @property\n    def inference(self) -> ScalerInference:\n"
        "        return ScalerInference()\n",
        "    inference = ScalerInference\n",
    ),
    "static predict": predicting("@staticmethod\n    def _predict(input_data: InferenceData):"),
    "classes below if and try": "try:\n    import json\nexcept ImportError:\n    pass\n"
    + IMPORTS
    + "\nif True:\n"
    + "\n".join(f"    {line}" for line in (PROJECT.removeprefix(IMPORTS)).splitlines()),
}


@pytest.mark.parametrize("source", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_idiom_of_authors_is_accepted(tmp_path: Path, source: str) -> None:
    archive = write_zip(tmp_path / "model.zip", FILES | {"custom_inference.py": source})
    report = validate_archive(archive, Framework.CUSTOM)
    assert report.framework is Framework.CUSTOM
    assert report.warnings == ()


def test_members_may_come_from_a_mixin_of_the_project(tmp_path: Path) -> None:
    mixin = (
        "class Types:\n    @property\n    def expected_model_types(self):\n        return {int}\n"
    )
    source = PROJECT.replace("(Inference)", "(Types, Inference)").replace(
        "expected_model_types", "other_types"
    )
    files = FILES | {"custom_inference.py": source, "types_of_models.py": mixin}
    validate_archive(write_zip(tmp_path / "model.zip", files), Framework.CUSTOM)


def test_alias_of_a_sibling_module_is_followed(tmp_path: Path) -> None:
    files = FILES | {
        "bases.py": "from mac.inference import Inference as Parent\nfrom mac.inference.creation "
        "import InferenceBuilder\nMaker = InferenceBuilder\n",
        "custom_inference.py": PROJECT.replace("(Inference)", "(Parent)").replace(
            "(InferenceBuilder)", "(Maker)"
        ),
    }
    validate_archive(write_zip(tmp_path / "model.zip", files), Framework.CUSTOM)


def test_classes_that_inherit_from_each_other_end_the_search(tmp_path: Path) -> None:
    source = "class A(B):\n    pass\n\nclass B(A):\n    pass\n"
    archive = write_zip(tmp_path / "model.zip", FILES | {"custom_inference.py": source})
    with pytest.raises(InvalidBundleError, match=NO_INFERENCE):
        validate_archive(archive, Framework.CUSTOM)


def test_wide_inheritance_is_searched_once(tmp_path: Path) -> None:
    # Each class has both of the layer below as bases: 2 ** 60 paths.
    layers = "".join(
        f"class A{n}(A{n + 1}, B{n + 1}): pass\nclass B{n}(A{n + 1}, B{n + 1}): pass\n"
        for n in range(60)
    )
    archive = write_zip(tmp_path / "model.zip", FILES | {"layers.py": layers})
    assert validate_archive(archive, Framework.CUSTOM).warnings == ()


@pytest.mark.parametrize("function", ["handle_completion", "handle_chat_completion"])
@pytest.mark.parametrize("keyword", ["def", "async def"])
def test_openai_handler_makes_classes_unnecessary(
    tmp_path: Path, function: str, keyword: str
) -> None:
    files = {"requirements.txt": "", "deep/er/chat.py": f"{keyword} {function}(request): ...\n"}
    archive = write_zip(tmp_path / "model.zip", files | {"notes.txt": ""})
    assert validate_archive(archive, Framework.CUSTOM).requirements == ()


def test_method_of_that_name_is_no_openai_handler(tmp_path: Path) -> None:
    source = "class Chat:\n    def handle_chat_completion(self): ...\n"
    files = {"requirements.txt": "", "chat.py": source}
    with pytest.raises(InvalidBundleError, match=NO_INFERENCE):
        validate_archive(write_zip(tmp_path / "model.zip", files), Framework.CUSTOM)


@pytest.mark.parametrize(
    "path", ["requirements.txt", "top/requirements.txt", "config/requirements.txt"]
)
def test_requirements_are_found_at_the_root_and_below(tmp_path: Path, path: str) -> None:
    top = "top/" if path.startswith("top/") else ""
    files = {f"{top}custom_inference.py": PROJECT, path: "numpy>=1.26\n"}
    report = validate_archive(write_zip(tmp_path / "model.zip", files), Framework.CUSTOM)
    assert report.requirements == ("numpy>=1.26",)


def test_requirements_nearest_to_the_root_count(tmp_path: Path) -> None:
    files = FILES | {"requirements.txt": "near", "a/requirements.txt": "far"}
    report = validate_archive(write_zip(tmp_path / "model.zip", files), Framework.CUSTOM)
    assert report.requirements == ("near",)


@pytest.mark.parametrize("folder", ["__pycache__", "artifacts", "__MACOSX", ".venv"])
def test_sources_in_caches_and_artifacts_are_not_read(tmp_path: Path, folder: str) -> None:
    files = FILES | {f"{folder}/other.py": PROJECT, f"{folder}/broken.py": "("}
    report = validate_archive(write_zip(tmp_path / "model.zip", files), Framework.CUSTOM)
    assert report.warnings == ()


def test_broken_module_at_the_root_is_an_error_naming_file_and_line(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "model.zip", FILES | {"other.py": "x = 1\nx = ("})
    with pytest.raises(InvalidBundleError, match=r"other\.py is no valid Python: .*line 2"):
        validate_archive(archive, Framework.CUSTOM)


@pytest.mark.parametrize("content", ["x = (", "\0", "(" * 100_000])
def test_broken_module_below_is_a_warning(tmp_path: Path, content: str) -> None:
    archive = write_zip(tmp_path / "model.zip", FILES | {"vendored/old.py": content})
    (warning,) = validate_archive(archive, Framework.CUSTOM).warnings
    assert warning.startswith("vendored/old.py is no valid Python: ")


def test_source_over_the_limit_is_not_read(tmp_path: Path) -> None:
    files = FILES | {"other.py": os.urandom(SOURCE_LIMIT_BYTES + 1)}
    with pytest.raises(InvalidBundleError, match=r"other\.py is larger than"):
        validate_archive(write_zip(tmp_path / "model.zip", files), Framework.CUSTOM)


def test_sources_over_the_limit_together_are_refused(tmp_path: Path) -> None:
    count = ALL_SOURCES_LIMIT_BYTES // SOURCE_LIMIT_BYTES
    comments = b"#" * SOURCE_LIMIT_BYTES
    files = FILES | {f"package/m{number}.py": comments for number in range(count)}
    folder = write_folder(tmp_path / "model", files)
    with pytest.raises(InvalidBundleError, match="larger than 16777216 bytes together"):
        validate_folder(folder, Framework.CUSTOM)


def test_files_beyond_what_is_searched_are_judged_by_their_names() -> None:
    secret, count = b"sk-" + b"aB3" * 20, SEARCHED_LIMIT_BYTES // TEXT_LIMIT_BYTES
    names = tuple(PurePosixPath(f"{number:02}.bin") for number in range(count + 1))
    source = ProjectSource(names, dict.fromkeys(names, secret).get, lambda _name: TEXT_LIMIT_BYTES)
    (warning,) = validate_source(source, None).warnings
    assert f"and {count - 10} more." in warning


def test_manifest_that_nests_deeply_is_refused(tmp_path: Path) -> None:
    files = FILES | {"model.toml": "a = " + "[" * 100_000}
    with pytest.raises(InvalidBundleError, match="nests too deeply"):
        validate_archive(write_zip(tmp_path / "model.zip", files), Framework.CUSTOM)


def test_validation_runs_nothing(tmp_path: Path) -> None:
    canary = tmp_path / "was-run"
    source = f"import pathlib; pathlib.Path({str(canary)!r}).touch()\n{PROJECT}"
    archive = write_zip(tmp_path / "model.zip", FILES | {"custom_inference.py": source})
    validate_archive(archive, Framework.CUSTOM)
    assert not canary.exists()


def test_manifest_of_another_framework_is_a_warning(tmp_path: Path) -> None:
    files = FILES | {"model.toml": '[model]\nname = "m"\nframework = "python"\n'}
    report = validate_archive(write_zip(tmp_path / "model.zip", files), Framework.CUSTOM)
    assert report.manifest is not None
    assert report.warnings == ("model.toml says framework python, this upload says custom",)


def test_manifest_that_is_no_text_is_refused(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "model.zip", FILES | {"model.toml": b"\xff\xfe\x00"})
    with pytest.raises(InvalidBundleError, match=r"model\.toml: it is no UTF-8 text"):
        validate_archive(archive, Framework.CUSTOM)


STEP = "def process_data(input_data):\n    return input_data\n"


def as_script(path: Path, source: str) -> Path:
    path.write_text(source)
    return path


def as_zip(path: Path, source: str) -> Path:
    return write_zip(path, {"top/step.py": source})


@pytest.mark.parametrize("form", [as_script, as_zip])
def test_python_step_is_a_script_or_a_zip(
    tmp_path: Path, form: Callable[[Path, str], Path]
) -> None:
    report = validate_archive(form(tmp_path / "blob", STEP), Framework.PYTHON)
    assert report.framework is Framework.PYTHON
    assert report.requirements == ()


@pytest.mark.parametrize(("source", "count"), [("x = 1\n", 0), (STEP + STEP, 2)])
def test_python_step_has_exactly_one_function(tmp_path: Path, source: str, count: int) -> None:
    with pytest.raises(InvalidBundleError, match=f"exactly one function .*found {count}"):
        validate_archive(as_script(tmp_path / "blob", source), Framework.PYTHON)


def test_onnx_file_is_left_to_its_runtime(tmp_path: Path) -> None:
    report = validate_archive(as_script(tmp_path / "blob", "anything"), Framework.ONNX)
    assert report.framework is Framework.ONNX


def test_folder_is_judged_as_its_zip(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "project", FILES | {"requirements.txt": "scipy"})
    assert validate_folder(folder).requirements == ("scipy",)
    (folder / "requirements.txt").unlink()
    with pytest.raises(InvalidBundleError, match="requires a requirements"):
        validate_folder(folder)


def test_included_files_are_part_of_the_folder(tmp_path: Path) -> None:
    write_folder(tmp_path / "shared", {"parts.py": PROJECT})
    manifest = '[model]\nname = "m"\n[bundle]\ninclude = ["../shared/parts.py"]\n'
    folder = write_folder(
        tmp_path / "project", {"model.toml": manifest, "requirements.txt": "", "main.py": ""}
    )
    assert validate_folder(folder).framework is Framework.CUSTOM


@pytest.mark.parametrize(
    ("files", "framework"),
    [
        (FILES, Framework.CUSTOM),
        ({"step.py": STEP}, Framework.PYTHON),
        ({"main.py": "print()"}, None),
        ({"below/main.py": "print()", "readme.txt": ""}, None),
        ({"main.py": PROJECT}, Framework.CUSTOM),
        ({"readme.txt": ""}, Framework.CUSTOM),
        ({"model.toml": '[model]\nname = "m"\nframework = "onnx"\n'}, Framework.ONNX),
    ],
)
def test_project_is_recognised_by_what_is_in_it(
    tmp_path: Path, files: dict[str, str], framework: Framework | None
) -> None:
    with open_project(write_zip(tmp_path / "project.zip", files)) as source:
        assert recognise(source) is framework


def test_secrets_are_a_warning_that_names_them_and_shows_none(tmp_path: Path) -> None:
    secret = "sk-" + "aB3" * 20
    files = FILES | {".env": f"KEY={secret}", "deep/notes.txt": f"the key is {secret}"}
    zipped = validate_archive(write_zip(tmp_path / "model.zip", files), Framework.CUSTOM)
    folder = validate_folder(write_folder(tmp_path / "model", files))
    assert zipped.warnings == folder.warnings
    (warning,) = zipped.warnings
    assert ".env, deep/notes.txt" in warning
    assert secret not in warning


def test_large_file_is_judged_by_its_name_alone(tmp_path: Path) -> None:
    weights = b"sk-" + b"aB3" * 20 + os.urandom(TEXT_LIMIT_BYTES)
    files = FILES | {"weights.bin": weights, "store.p12": weights}
    report = validate_archive(write_zip(tmp_path / "model.zip", files), Framework.CUSTOM)
    (warning,) = report.warnings
    assert "store.p12" in warning
    assert "weights.bin" not in warning
