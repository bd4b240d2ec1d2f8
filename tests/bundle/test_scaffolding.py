from pathlib import Path

import pytest

from byop.bundle.archive import pack
from byop.bundle.scaffolding import ProjectKind, new_project
from byop.bundle.validation import validate_archive, validate_folder
from byop.domain.models import Framework
from byop.errors import AlreadyExistsError, InvalidNameError
from tests.bundle.conftest import Predict

MODELS = {
    ProjectKind.LISTENER: (
        {"generated_text": ["You are awful.", "Thank you."]},
        {"generated_text": ["You are awful.", "Thank you."], "score": [pytest.approx(1 / 3), 0]},
    ),
    ProjectKind.MODEL: (
        {"tensor": [[1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]]},
        {"prediction": [pytest.approx(1.475), pytest.approx(0.1)]},
    ),
}


@pytest.mark.parametrize("kind", list(ProjectKind))
def test_new_project_is_valid_and_carries_its_name(tmp_path: Path, kind: ProjectKind) -> None:
    folder = tmp_path / "my-own"
    written = new_project(kind, "my-own", folder)
    assert sorted(written) == sorted(path for path in folder.rglob("*") if path.is_file())
    assert b"my-project" not in b"".join(path.read_bytes() for path in written)
    report = validate_folder(folder)
    assert report.warnings == ()
    if kind is ProjectKind.TASK:
        assert report.framework is None
        assert (folder / "main.py") in written
    else:
        assert report.manifest is not None
        assert report.manifest.name == "my-own"
        assert report.manifest.inputs is not None
        assert report.manifest.outputs is not None


@pytest.mark.parametrize("kind", MODELS.keys())
def test_new_model_packs_loads_and_predicts(
    tmp_path: Path, predict_from: Predict, kind: ProjectKind
) -> None:
    new_project(kind, "mine", tmp_path / "mine")
    packed = pack(tmp_path / "mine", tmp_path / "mine.zip")
    validate_archive(packed.path, Framework.CUSTOM)
    batch, expected = MODELS[kind]
    assert predict_from(packed.path, batch) == expected


def test_new_provider_packs_loads_and_reads_its_variables(
    tmp_path: Path, predict_from: Predict
) -> None:
    new_project(ProjectKind.PROVIDER, "mine", tmp_path / "mine")
    packed = pack(tmp_path / "mine", tmp_path / "mine.zip")
    failed = predict_from(packed.path, {"text": []})["failed"]
    assert "'PROVIDER_URL'" in failed
    variables = {"PROVIDER_URL": "http://127.0.0.1:9/", "PROVIDER_API_KEY": "k"}
    answer = predict_from(packed.path, {"text": []}, environment=variables)
    assert answer == {"text": [], "generated_text": []}


def test_name_must_be_a_dns_label(tmp_path: Path) -> None:
    with pytest.raises(InvalidNameError):
        new_project(ProjectKind.MODEL, "My Model", tmp_path / "project")
    assert list(tmp_path.iterdir()) == []


def test_existing_files_are_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "inference.py").write_text("mine")
    with pytest.raises(AlreadyExistsError):
        new_project(ProjectKind.MODEL, "m", tmp_path)
    assert (tmp_path / "inference.py").read_text() == "mine"
