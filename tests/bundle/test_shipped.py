from pathlib import Path

import pytest

import byop
from byop.bundle.shipped import project_folder
from byop.errors import NotFoundError


def test_project_of_the_checkout_is_found() -> None:
    root = Path(byop.__file__).parents[1]
    assert project_folder("openai_chat") == root / "providers" / "openai_chat"
    assert project_folder("toxicity") == root / "listeners" / "toxicity"


def test_project_in_a_wheel_is_preferred(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "byop" / "_projects" / "providers" / "openai_chat"
    folder.mkdir(parents=True)
    monkeypatch.setattr(byop, "__file__", str(tmp_path / "byop" / "__init__.py"))
    assert project_folder("openai_chat") == folder


@pytest.mark.parametrize("name", ["nothing", "../byop", "", "."])
def test_unknown_project_is_not_found(name: str) -> None:
    with pytest.raises(NotFoundError):
        project_folder(name)
