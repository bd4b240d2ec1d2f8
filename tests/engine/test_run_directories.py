from pathlib import Path
from tempfile import mkdtemp

import pytest

from byop.engine.run_directories import open_run_directory, remove_run_directory
from byop.errors import StorageUnavailableError


@pytest.fixture
def long_home(tmp_path: Path) -> Path:
    home = tmp_path / ("x" * 80)
    home.mkdir()
    return home


def test_short_home_holds_its_own_sockets() -> None:
    home = Path(mkdtemp(dir="/tmp"))
    folder = open_run_directory(home)
    assert folder == home / "run"
    assert folder.stat().st_mode & 0o777 == 0o700
    remove_run_directory(folder)
    home.rmdir()


def test_long_home_gets_the_same_short_folder_each_time(long_home: Path, tmp_path: Path) -> None:
    folder = open_run_directory(long_home, fallback=tmp_path)
    assert folder.parent == tmp_path
    (folder / "left.sock").touch()
    assert open_run_directory(long_home, fallback=tmp_path) == folder
    assert list(folder.iterdir()) == []
    remove_run_directory(folder)
    assert not folder.exists()


def test_two_homes_get_two_folders(long_home: Path, tmp_path: Path) -> None:
    other = long_home.with_name("y" * 80)
    other.mkdir()
    first = open_run_directory(long_home, fallback=tmp_path)
    assert first != open_run_directory(other, fallback=tmp_path)


def test_folder_open_to_others_or_a_link_is_refused(long_home: Path, tmp_path: Path) -> None:
    folder = open_run_directory(long_home, fallback=tmp_path)
    folder.chmod(0o755)
    with pytest.raises(StorageUnavailableError, match="this user's alone"):
        open_run_directory(long_home, fallback=tmp_path)
    folder.rmdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    folder.symlink_to(elsewhere)
    with pytest.raises(StorageUnavailableError, match="this user's alone"):
        open_run_directory(long_home, fallback=tmp_path)


def test_file_in_the_way_is_told(long_home: Path, tmp_path: Path) -> None:
    folder = open_run_directory(long_home, fallback=tmp_path)
    folder.rmdir()
    folder.touch()
    with pytest.raises(StorageUnavailableError, match="cannot be used for sockets"):
        open_run_directory(long_home, fallback=tmp_path)
