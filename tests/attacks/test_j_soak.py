"""Group J: a short soak. The one of ten minutes is ``python -m benchmarks.soak``."""

import re
import subprocess
import sys

import pytest

from tests.fakes.servers import ROOT, server_environ

pytestmark = [pytest.mark.registry, pytest.mark.long]

_GROWS = re.compile(r"wrong: (.*)")


@pytest.fixture(scope="module")
def wrong(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return what a soak of 15 seconds found wrong."""
    folder = tmp_path_factory.mktemp("soak")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.soak", "--minutes", "0.25", "--warm-up-s", "15"],
        cwd=ROOT,
        env=server_environ(folder / "home"),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert "unexpected answers:" in done.stdout, done.stderr[-4000:]
    return _GROWS.findall(done.stdout)


def test_j21_soak_leaves_memory_flat_and_every_answer_as_expected(wrong: list[str]) -> None:
    assert [line for line in wrong if "descriptors" not in line] == []


def test_j22_soak_leaves_descriptors_flat(wrong: list[str]) -> None:
    assert [line for line in wrong if "descriptors" in line] == []
