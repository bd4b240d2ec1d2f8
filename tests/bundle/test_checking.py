"""Checking apart gives what checking here gives, and survives what the source does to it."""

import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic, sleep

import psutil
import pytest

from byop.bundle.archive_limits import ArchiveLimits
from byop.bundle.checking import validate_apart
from byop.bundle.checking_process import ANSWER_LIMIT_BYTES, answer_to
from byop.bundle.validation import SOURCE_LIMIT_BYTES, validate_archive
from byop.domain.models import Framework
from byop.errors import ByopError, InvalidArchiveError, InvalidBundleError, ServerStoppingError
from tests.bundle.sources import FILES, write_zip

_DENSE = "a;" * (SOURCE_LIMIT_BYTES // 2)
"""Takes 900 MiB and seconds to parse."""

_BALLAST = {"weights.bin": os.urandom(64 << 10)}
"""Keeps the ratio of a zip low."""

_MANIFEST = '[model]\nname = "m"\nframework = "python"\n[input]\nx = "float64"\n'


@pytest.mark.parametrize(
    "added",
    [
        {},
        {"requirements.txt": "scipy\n-i https://example.com\n", "model.toml": "\ufeff" + _MANIFEST},
        {".env": "A=b", "deep/broken.py": "x = ("},
    ],
    ids=["plain", "manifest", "warnings"],
)
def test_report_is_the_same(tmp_path: Path, added: dict[str, str]) -> None:
    archive = write_zip(tmp_path / "model.zip", FILES | added)
    assert validate_apart(archive, Framework.CUSTOM) == validate_archive(archive, Framework.CUSTOM)


def test_onnx_is_not_looked_at(tmp_path: Path) -> None:
    report = validate_apart(tmp_path / "absent.onnx", Framework.ONNX)
    assert report == validate_archive(tmp_path / "absent.onnx", Framework.ONNX)


def _message(check: Callable[[], object]) -> tuple[type[ByopError], str]:
    with pytest.raises(ByopError) as caught:
        check()
    return caught.type, caught.value.message


def test_errors_are_the_same(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "model.zip", FILES | {"more.py": FILES["custom_inference.py"]})
    for limits in (ArchiveLimits(), ArchiveLimits(entries=2)):
        apart = _message(lambda: validate_apart(archive, Framework.CUSTOM, limits))  # noqa: B023 - called at once
        here = _message(lambda: validate_archive(archive, Framework.CUSTOM, limits))  # noqa: B023 - called at once
        assert apart == here
    text = tmp_path / "text.zip"
    text.write_text("no zip")
    assert _message(lambda: validate_apart(text, Framework.CUSTOM))[0] is InvalidArchiveError


@pytest.mark.parametrize(
    "source",
    [
        _DENSE,
        "(" * 100_000,
        "-" * 500_000 + "1",
        "a" + ".b" * 250_000,
        "x=" + "+".join("1" * 200_000),
        "if a:\n pass\n" + "elif a:\n pass\n" * 900,
        "class A(" + "B[" * 90 + "0" + "]" * 90 + "): pass",
    ],
    ids=["dense", "parentheses", "signs", "attributes", "sums", "elif", "subscripts"],
)
def test_source_bomb_is_refused_in_words(tmp_path: Path, source: str) -> None:
    archive = write_zip(tmp_path / "model.zip", {"step.py": source})
    with pytest.raises(InvalidBundleError, match=r"\w{5}"):
        validate_apart(archive, Framework.PYTHON)


def test_memory_of_the_check_is_bounded(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "model.zip", _BALLAST | {"a.py": _DENSE, "b.py": _DENSE})
    with pytest.raises(InvalidBundleError, match=r"b\.py is no valid Python: .* memory"):
        validate_apart(archive, Framework.PYTHON)


def test_long_answer_is_refused(tmp_path: Path) -> None:
    files = FILES | _BALLAST | {"requirements.txt": "numpy\n" * (ANSWER_LIMIT_BYTES // 6)}
    archive = write_zip(tmp_path / "model.zip", files)
    with pytest.raises(InvalidBundleError, match=f"take more than {ANSWER_LIMIT_BYTES} bytes"):
        validate_apart(archive, Framework.CUSTOM)


@pytest.mark.parametrize(
    ("number", "expected", "words"),
    [
        (signal.SIGSEGV, InvalidBundleError, "ended with signal 11"),
        (signal.SIGXCPU, InvalidBundleError, "it takes too long"),
        (signal.SIGTERM, ServerStoppingError, "stop"),
    ],
)
def test_end_of_the_process_is_told(
    tmp_path: Path, number: int, expected: type[ByopError], words: str
) -> None:
    archive = write_zip(tmp_path / "model.zip", {"step.py": _DENSE})
    with ThreadPoolExecutor(1) as pool:
        checked = pool.submit(validate_apart, archive, Framework.PYTHON)
        _checking_process().send_signal(number)
        with pytest.raises(expected, match=words):
            checked.result(60)


def test_failure_that_is_not_the_projects_is_no_answer_about_it(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="FileNotFoundError"):
        validate_apart(tmp_path / "absent.zip", Framework.PYTHON)


def test_answer_is_made_of_plain_values(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "model.zip", FILES | {"requirements.txt": "scipy"})
    request = {"path": str(archive), "framework": "custom", "limits": {}}
    assert answer_to(request) == {"requirements": ("scipy",), "warnings": (), "manifest": None}


def _checking_process() -> psutil.Process:
    deadline = monotonic() + 60
    while monotonic() < deadline:
        for child in psutil.Process().children():
            if "byop.bundle.checking_process" in child.cmdline():
                return child
        sleep(0.01)
    raise AssertionError("no process checks the project")
