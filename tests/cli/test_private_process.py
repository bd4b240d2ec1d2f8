import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from byop.cli.private_process import secrets_of
from byop.settings import Settings

DIES = """
import os, resource
from byop.cli.private_process import keep_memory_private
keep_memory_private()
print(resource.getrlimit(resource.RLIMIT_CORE), flush=True)
os.abort()
"""
BECOME_NOBODY = """
import ctypes, os, sys
from pathlib import Path
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
"""
READS = (
    BECOME_NOBODY
    + """
try:
    Path(f"/proc/{sys.argv[1]}/environ").read_bytes()
    print("read")
except PermissionError:
    print("refused")
"""
)
WAITS = (
    "from byop.cli.private_process import keep_memory_private\n"
    + BECOME_NOBODY
    + """
if sys.argv[1] == "private":
    keep_memory_private()
else:
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
print("ready", flush=True)
sys.stdin.read()
"""
)
linux = pytest.mark.skipif(sys.platform != "linux", reason="what /proc shows")


def test_crash_leaves_no_core_dump(tmp_path: Path) -> None:
    def allow_cores() -> None:
        _, hard = resource.getrlimit(resource.RLIMIT_CORE)
        resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))

    done = subprocess.run(
        [sys.executable, "-c", DIES],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=allow_cores,
    )
    assert done.returncode == -signal.SIGABRT, done.stderr
    assert done.stdout.strip() == "(0, 0)"
    assert list(tmp_path.iterdir()) == []


@linux
@pytest.mark.skipif(os.geteuid() != 0, reason="takes root to become another user twice")
@pytest.mark.parametrize(("kind", "answer"), [("private", "refused"), ("open", "read")])
def test_process_of_the_same_user_reads_nothing(kind: str, answer: str) -> None:
    """The open kind shows that this user could read, were it not for the protection."""
    with subprocess.Popen(
        [sys.executable, "-c", WAITS, kind],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as waiting:
        assert waiting.stdout is not None
        assert waiting.stdout.readline() == "ready\n"
        done = subprocess.run(
            [sys.executable, "-c", READS, str(waiting.pid)],
            capture_output=True,
            text=True,
            check=True,
        )
        waiting.communicate()
    assert done.stdout.strip() == answer


@pytest.mark.parametrize(
    ("url", "password"),
    [
        ("postgresql+psycopg://u:pa%24s@h:5432/d", "pa$s"),
        ("sqlite:////data/metadata.sqlite3", None),
        ("postgresql://u@h/d", None),
        ("http://[broken", None),
    ],
)
def test_password_of_the_database_is_one_of_the_secrets(url: str, password: str | None) -> None:
    secrets = secrets_of(Settings(database_url=url, admin_password="a"))  # noqa: S106 - test data
    assert secrets["admin_password"] == "a"  # noqa: S105 - test data
    assert secrets.get("database_password") == password
    assert (secrets.get("database_url") == url) == (password is not None)
