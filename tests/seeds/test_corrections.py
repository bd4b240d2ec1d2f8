"""The document of corrections says what is so, and all of it is needed."""

import ast
from pathlib import Path

import pytest

from tests.seeds.corrections import (
    SNIPPETS,
    CorrectionError,
    read_corrections,
    read_snippet,
)

CORRECTIONS = read_corrections()
CODE = sorted(path.stem for path in SNIPPETS.glob("*.txt") if not path.stem.endswith(".answer"))
PYTHON = [file for file in CODE if "curl" not in file]
FILLED_IN = {"server": "http://127.0.0.1:1", "inference_url": "http://127.0.0.1:1/x", "token": "t"}


@pytest.mark.parametrize("file", CODE)
def test_corrections_fit_the_printed_text(file: str) -> None:
    assert CORRECTIONS.apply(file, filled_in=FILLED_IN)


@pytest.mark.parametrize("file", PYTHON)
def test_corrected_snippet_is_python(file: str) -> None:
    ast.parse(CORRECTIONS.apply(file, filled_in=FILLED_IN))


@pytest.mark.parametrize("file", sorted(CORRECTIONS.files()))
def test_corrected_snippet_exists(file: str) -> None:
    assert file in CODE


@pytest.mark.parametrize("old", CORRECTIONS.substitutions)
def test_substitution_is_needed(old: str) -> None:
    corrected = [CORRECTIONS.apply(file, filled_in={}) for file in CODE]
    assert old not in "".join(corrected)
    unsubstituted = "".join(read_snippet(file) for file in CODE)
    misspelt = unsubstituted.replace("{wallarooDOmain}", "{wallarooDomain}")
    assert old in misspelt


@pytest.mark.parametrize("name", CORRECTIONS.given_names)
def test_given_name_is_used(name: str) -> None:
    code = "\n".join(CORRECTIONS.apply(file, filled_in=FILLED_IN) for file in PYTHON)
    used = {node.id for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Name)}
    assert name in used


def test_line_breaks_may_change_nothing_else(tmp_path: Path) -> None:
    document = _document(tmp_path, breaks="credentials = Credentials.other()")
    with pytest.raises(CorrectionError, match="more than white space"):
        read_corrections(document).apply("004-0041-credentials", filled_in={})


def test_correction_of_something_else_is_an_error(tmp_path: Path) -> None:
    row = "| 001-0275-api-url | 275 | `APIURI` | `APIURL` | no such text |"
    with pytest.raises(CorrectionError, match="'APIURI' stands 0 times"):
        read_corrections(_document(tmp_path, row=row)).apply("001-0275-api-url", filled_in={})


def test_correction_of_a_line_outside_is_an_error(tmp_path: Path) -> None:
    row = "| 001-0275-api-url | 274 | `APIURL` | `URL` | the line before |"
    with pytest.raises(CorrectionError, match="no such line"):
        read_corrections(_document(tmp_path, row=row)).apply("001-0275-api-url", filled_in={})


def _document(folder: Path, *, row: str = "", breaks: str = "") -> Path:
    path = folder / "corrections.md"
    path.write_text(
        "## Hosts and names\n| old | new | why |\n|---|---|---|\n"
        "## Values that the runner gives\n| name | what |\n|---|---|\n"
        f"## Misprints\n| file | line | old | new | why |\n|---|---|---|---|---|\n{row}\n"
        f"## Line breaks\n### 004-0041-credentials\n```python\n{breaks}\n```\n"
    )
    return path
