from pathlib import Path

import pytest

from byop.bundle.project_files import collect_files
from byop.errors import InvalidBundleError
from tests.bundle.sources import write_folder

MANIFEST = '[model]\nname = "m"\n[bundle]\ninclude = {}\n'


def names_in(folder: Path) -> list[str]:
    return [str(name) for name in collect_files(folder)]


def test_caches_environments_and_version_control_are_left_out(tmp_path: Path) -> None:
    skipped = [
        ".git/config",
        ".hg/store",
        ".svn/entries",
        ".venv/bin/python",
        "venv/bin/python",
        "my-env/pyvenv.cfg",
        "my-env/bin/python",
        "__pycache__/a.pyc",
        "deep/__pycache__/a.pyc",
        ".mypy_cache/x",
        ".pytest_cache/x",
        ".ipynb_checkpoints/x",
        "node_modules/x",
        "project.egg-info/PKG-INFO",
        "__MACOSX/._a.py",
        "a.pyc",
        ".gitignore",
        ".DS_Store",
        "a.py~",
    ]
    kept = ["a.py", "artifacts/weights.npz", "deep/b.py", "env/settings.json"]
    folder = write_folder(tmp_path, dict.fromkeys([*skipped, *kept], ""))
    assert names_in(folder) == kept


def test_included_files_and_folders_come_to_the_root(tmp_path: Path) -> None:
    write_folder(tmp_path / "shared", {"linear.py": "x", "data/words.txt": "", "data/.git/c": ""})
    manifest = MANIFEST.format('["../shared/linear.py", "../shared/data"]')
    folder = write_folder(tmp_path / "project", {"model.toml": manifest, "z.py": ""})
    assert names_in(folder) == ["data/words.txt", "linear.py", "model.toml", "z.py"]


@pytest.mark.parametrize(
    ("include", "message"),
    [
        ('["../absent.py"]', r"'\.\./absent\.py' does not exist"),
        ('["../shared/taken.py"]', r"'\.\./shared/taken\.py' would overwrite 'taken\.py'"),
        ("[1]", "must be a list of texts"),
    ],
)
def test_include_that_cannot_be_done_is_refused(tmp_path: Path, include: str, message: str) -> None:
    write_folder(tmp_path / "shared", {"taken.py": ""})
    folder = write_folder(
        tmp_path / "project", {"model.toml": MANIFEST.format(include), "taken.py": ""}
    )
    with pytest.raises(InvalidBundleError, match=message):
        collect_files(folder)


def test_linked_file_counts_as_its_content(tmp_path: Path) -> None:
    write_folder(tmp_path, {"outside.bin": "content", "project/a.py": ""})
    (tmp_path / "project" / "weights.bin").symlink_to(tmp_path / "outside.bin")
    assert names_in(tmp_path / "project") == ["a.py", "weights.bin"]


def test_linked_folder_and_dangling_link_are_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "project", {"a.py": ""})
    (folder / "loop").symlink_to(folder)
    with pytest.raises(InvalidBundleError, match="loop is a linked folder"):
        collect_files(folder)
    (folder / "loop").unlink()
    (folder / "gone").symlink_to(tmp_path / "nothing")
    with pytest.raises(InvalidBundleError, match="gone is neither a file nor a folder"):
        collect_files(folder)


def test_file_is_no_project(tmp_path: Path) -> None:
    with pytest.raises(InvalidBundleError, match="is no folder"):
        collect_files(tmp_path / "absent")
