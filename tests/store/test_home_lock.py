import subprocess
import sys
from pathlib import Path

import pytest

from byop.errors import HomeLockedError
from byop.store.home_lock import HomeLock

_HOLDER = """
import sys
from pathlib import Path
from byop.store.home_lock import HomeLock
HomeLock(Path(sys.argv[1])).acquire()
print("locked", flush=True)
sys.stdin.read()
"""


def _start_holder(home: Path) -> subprocess.Popen[bytes]:
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"locked\n"
    return holder


def _end(holder: subprocess.Popen[bytes]) -> None:
    holder.kill()
    holder.communicate()


def test_second_process_is_refused_and_told_the_folder(tmp_path: Path) -> None:
    holder = _start_holder(tmp_path)
    try:
        with pytest.raises(HomeLockedError, match=str(tmp_path)):
            HomeLock(tmp_path).acquire()
    finally:
        _end(holder)


def test_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    _end(_start_holder(tmp_path))
    with HomeLock(tmp_path):
        assert (tmp_path / "server.lock").exists()


def test_released_lock_can_be_taken_again_in_the_same_process(tmp_path: Path) -> None:
    with HomeLock(tmp_path), pytest.raises(HomeLockedError):
        HomeLock(tmp_path).acquire()
    lock = HomeLock(tmp_path)
    lock.acquire()
    lock.release()
    lock.release()
    with HomeLock(tmp_path):
        pass
