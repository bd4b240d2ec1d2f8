"""The alias changes the import system, so each test has a process of its own."""

import subprocess
import sys

import pytest


def run(code: str, *, cwd: str | None = None) -> str:
    done = subprocess.run(
        [sys.executable, "-P", "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


INSTALL = "from byop.sdk import mac_alias; mac_alias.install();"


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("mac.inference", "Inference"),
        ("mac.inference", "AsyncInference"),
        ("mac.inference.creation", "InferenceBuilder"),
        ("mac.config.inference", "CustomInferenceConfig"),
        ("mac.types", "InferenceData"),
        ("mac.exceptions", "InferenceDataValidationError"),
        ("mac.exceptions", "ModelNotAssignedError"),
    ],
)
def test_name_is_the_same_object_as_in_the_sdk(module: str, name: str) -> None:
    code = f"from {module} import {name}; import byop.sdk; print({name} is byop.sdk.{name})"
    assert run(INSTALL + code) == "True"


def test_dotted_import_binds_the_package() -> None:
    code = "import mac.inference.creation, mac.config; print(mac.inference.Inference.__name__)"
    assert run(INSTALL + code) == "Inference"


def test_other_names_are_not_found() -> None:
    code = (
        "import importlib\n"
        "for name in ('mac.nothing', 'machine'):\n"
        "    try: importlib.import_module(name)\n"
        "    except ModuleNotFoundError as error: print(error)\n"
    )
    assert run(f"{INSTALL}\n{code}").splitlines() == [
        "No module named 'mac.nothing'",
        "No module named 'machine'",
    ]


def test_installing_twice_adds_one_finder() -> None:
    code = "import sys; before = len(sys.meta_path); mac_alias.install();"
    assert run(f"{INSTALL}{code} print(len(sys.meta_path) - before)") == "0"


def test_without_installing_there_is_no_mac() -> None:
    code = "import importlib.util, byop.sdk; print(importlib.util.find_spec('mac'))"
    assert run(code) == "None"


def test_alias_wins_over_an_installed_package_of_that_name() -> None:
    code = (
        "import sys, tempfile, pathlib;"
        "folder = pathlib.Path(tempfile.mkdtemp());"
        "(folder / 'mac.py').write_text('raise OSError');"
        "sys.path.insert(0, str(folder));"
        f"{INSTALL} from mac.inference import Inference; print(Inference.__module__)"
    )
    assert run(code) == "byop.sdk.inference"


def test_sdk_needs_numpy_and_the_standard_library_only() -> None:
    code = (
        "import sys; import numpy; before = set(sys.modules); import byop.sdk;"
        f"{INSTALL} import mac.inference.creation, mac.exceptions, mac.types, mac.config.inference;"
        "import byop.bundle.loading;"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before};"
        "print(sorted(new - sys.stdlib_module_names - {'byop', 'mac', 'numpy'}))"
    )
    assert run(code) == "[]"
