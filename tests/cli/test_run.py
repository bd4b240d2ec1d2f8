import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
import typer
from typer.testing import CliRunner, Result

from byop.bundle.archive import pack
from byop.cli import run as command
from byop.tables.ipc import TableLimits, read_file, write_file

CACHE = Path(__file__).resolve().parents[2] / ".cache" / "environments"
MANIFEST = """
[model]
name = "shout"
framework = "custom"
[input]
text = "string"
[output]
loud = "string"
length = "int64"
[environment]
required = ["MARK"]
"""
SOURCE = """
import os
import numpy as np
from mac.inference import Inference
from mac.inference.creation import InferenceBuilder
from mac.types import InferenceData


class Shout(Inference):
    @property
    def expected_model_types(self):
        return {str}

    @Inference.model.setter
    def model(self, model):
        self._raise_error_if_model_is_wrong_type(model)
        self._model = model

    def _predict(self, input_data: InferenceData) -> InferenceData:
        texts = input_data["text"].tolist()
        print("shouting with", self.model)
        return {
            "loud": np.array([text.upper() for text in texts], dtype=object),
            "length": np.array([len(text) for text in texts]),
        }


class Builder(InferenceBuilder):
    @property
    def inference(self):
        return Shout()

    def create(self, config):
        made = self.inference
        made.model = os.environ["MARK"]
        return made
"""
STEP = """
from mac.types import InferenceData


def process_data(input_data: InferenceData) -> InferenceData:
    return {"y": input_data["x"] * 2}
"""

pytestmark = pytest.mark.registry
Run = Callable[..., Result]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "model.toml").write_text(MANIFEST)
    (folder / "model.py").write_text(SOURCE)
    (folder / "requirements.txt").write_text("")
    (tmp_path / "records.json").write_text('[{"text": "hello"}, {"text": "grüß"}]')
    return folder


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BYOP_ENVIRONMENTS_DIR", str(CACHE))
    monkeypatch.setenv("COLUMNS", "120")
    app = typer.Typer()
    command.register(app)
    return lambda *arguments: CliRunner().invoke(app, [str(each) for each in arguments])


def test_folder_runs_and_shows_types_timings_and_what_the_model_printed(
    run: Run, project: Path
) -> None:
    done = run(project, "--input", "records.json", "--env", "MARK=canary-mark")
    assert done.exit_code == 0, done.output
    for text in ("in.text", "out.loud", "int64", "HELLO", "GRÜSS", "load ", "predict "):
        assert text in done.stdout
    assert "model: shouting with ***" in done.stderr
    assert "canary" not in done.output


def test_zip_runs_and_writes_its_answer(run: Run, project: Path, tmp_path: Path) -> None:
    packed = pack(project, tmp_path / "shout.zip")
    batch = pa.record_batch({"text": pa.array(["abc"])})
    (tmp_path / "in.arrow").write_bytes(write_file(batch).to_pybytes())
    for name in ("out.json", "out.arrow"):
        done = run(packed.path, "--input", "in.arrow", "--env", "MARK=!", "--output", name)
        assert done.exit_code == 0, done.output
    assert (tmp_path / "out.json").read_text() == '[{"loud":"ABC","length":3}]'
    answer = read_file((tmp_path / "out.arrow").read_bytes(), TableLimits())
    assert answer.to_pylist() == [{"loud": "ABC", "length": 3}]


def test_zip_of_a_python_step_is_recognised_as_its_folder_is(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "step"
    folder.mkdir()
    (folder / "step.py").write_text(STEP)
    (tmp_path / "in.json").write_text('[{"x": 1.5}]')
    for project in (folder, pack(folder, tmp_path / "step.zip").path):
        done = run(project, "--input", "in.json")
        assert done.exit_code == 0, done.output
        assert "3.0" in done.stdout


def test_task_is_refused_as_what_it_is(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "task"
    folder.mkdir()
    (folder / "main.py").write_text("print('scoring')")
    (tmp_path / "in.json").write_text("[]")
    for project in (folder, pack(folder, tmp_path / "task.zip").path):
        done = run(project, "--input", "in.json")
        assert done.exit_code == 1
        assert "is an orchestration" in done.stderr


def test_command_shows_no_log_of_the_engine(project: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "byop", "run", project, "--input", "records.json", "--env=MARK=!"],
        env={**os.environ, "BYOP_ENVIRONMENTS_DIR": str(CACHE)},
        cwd=project.parent,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "worker starts" not in done.stdout + done.stderr
    assert done.stderr.splitlines() == ["model: shouting with !"]


def test_own_variable_is_passed_on_by_name(
    run: Run, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARK", "!")
    assert run(project, "--input", "records.json", "--env", "MARK").exit_code == 0
    monkeypatch.delenv("MARK")
    refused = run(project, "--input", "records.json", "--env", "MARK")
    assert refused.exit_code == 1
    assert "the variable is not set here" in refused.stderr


def test_model_that_cannot_load_says_why(run: Run, project: Path) -> None:
    done = run(project, "--input", "records.json")
    assert done.exit_code == 1
    assert "warning: the project needs MARK" in done.stdout
    assert "error: model 'shout': KeyError: 'MARK'" in done.stderr


def test_input_that_does_not_fit_is_refused_before_anything_is_built(
    run: Run, project: Path, tmp_path: Path
) -> None:
    (tmp_path / "bad.json").write_text('[{"txt": "hello"}]')
    done = run(project, "--input", "bad.json")
    assert done.exit_code == 1
    assert "column 'text' is missing" in done.stderr
