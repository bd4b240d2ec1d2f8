from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from byop.cli import bundles
from tests.bundle.sources import FILES, write_folder, write_zip

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command with ``tmp_path`` as the working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    app = typer.Typer()
    bundles.register(app)
    return lambda *arguments: CliRunner().invoke(app, [str(each) for each in arguments])


@pytest.mark.parametrize("kind", ["provider", "listener", "model", "task"])
def test_new_project_packs_and_is_inspected(run: Run, tmp_path: Path, kind: str) -> None:
    made = run("new", kind, "mine")
    assert made.exit_code == 0, made.output
    assert "mine/requirements.txt" in made.output.splitlines()
    packed = run("pack", "mine")
    assert packed.exit_code == 0, packed.output
    assert "mine.zip" in packed.output
    assert (tmp_path / "mine.zip").is_file()
    shown = run("inspect", "mine.zip")
    assert shown.exit_code == 0, shown.output
    assert ("orchestration" if kind == "task" else "custom") in shown.output


def test_inspect_shows_what_the_manifest_declares(run: Run) -> None:
    run("new", "provider", "mine")
    run("pack", "mine", "-o", "out/any.zip")
    shown = run("inspect", "out/any.zip").output
    for text in ("PROVIDER_API_KEY", "generated_text: string", "requests>=2.32", "inference.py"):
        assert text in shown


def test_packing_twice_prints_the_same_sha(run: Run, tmp_path: Path) -> None:
    write_folder(tmp_path / "project", FILES)
    first, second = (run("pack", "project", "-o", name).output for name in ("a.zip", "b.zip"))
    assert first.splitlines()[1].startswith("sha256 ")
    assert first.splitlines()[1] == second.splitlines()[1]


def test_invalid_project_is_not_packed(run: Run, tmp_path: Path) -> None:
    write_folder(tmp_path / "project", {"model.py": ""})
    result = run("pack", "project")
    assert result.exit_code == 1
    assert "requires a requirements.txt" in result.stderr
    assert "Traceback" not in result.output
    assert not (tmp_path / "project.zip").exists()


def test_secret_is_refused_unless_told_otherwise(run: Run, tmp_path: Path) -> None:
    write_folder(tmp_path / "project", FILES | {".env": "KEY=value"})
    refused = run("pack", "project")
    assert refused.exit_code == 1
    assert ".env" in refused.stderr
    assert "value" not in refused.output
    assert run("pack", "project", "--allow-secrets").exit_code == 0


def test_inspect_names_the_problem_and_fails(run: Run, tmp_path: Path) -> None:
    write_zip(tmp_path / "bad.zip", FILES | {"custom_inference.py": "x = 1"})
    result = run("inspect", "bad.zip")
    assert result.exit_code == 1
    assert "No Inference-inherited class found in the model directory" in result.output


def test_inspect_shows_a_broken_manifest_as_a_problem(run: Run, tmp_path: Path) -> None:
    write_zip(tmp_path / "bad.zip", FILES | {"model.toml": "[model"})
    result = run("inspect", "bad.zip")
    assert result.exit_code == 1
    assert "model.toml: " in result.output


def test_long_file_list_is_cut(run: Run, tmp_path: Path) -> None:
    write_zip(tmp_path / "many.zip", FILES | {f"data/{number:03}.txt": "" for number in range(60)})
    assert "... and 23 more" in run("inspect", "many.zip").output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("inspect", "text.txt"), "Bad request: Not a valid ZIP file."),
        (("new", "model", "Not A Label"), "is not allowed"),
        (("new", "model", "taken"), "folder 'taken' already exists"),
        (("pack", "taken", "-o", "text.txt/a.zip"), "text.txt"),
    ],
)
def test_mistake_ends_with_code_1_and_one_line_on_stderr(
    run: Run, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    write_folder(tmp_path / "taken", FILES)
    (tmp_path / "text.txt").write_text("no zip")
    result = run(*arguments)
    assert result.exit_code == 1
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_warning_about_requirements_goes_to_stderr(run: Run, tmp_path: Path) -> None:
    write_folder(tmp_path / "project", FILES | {"requirements.txt": "--index-url https://host/\n"})
    result = run("pack", "project")
    assert result.exit_code == 0
    assert "warning: requirements.txt: --index-url is left out" in result.stderr
