"""Each test runs in a process of its own: an alias stays for the life of a process."""

import subprocess
import sys

import pytest


def run(code: str) -> str:
    program = f"from byop.client import alias; alias.install(); alias.install()\n{code}"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("line", "name", "same"),
    [
        ("import wallaroo", "wallaroo.Client", "byop.Client"),
        (
            "from wallaroo.object import EntityNotFoundError",
            "EntityNotFoundError",
            "byop.errors.NotFoundError",
        ),
        ("from wallaroo.client import Client", "Client", "byop.Client"),
        ("from wallaroo.framework import Framework", "Framework", "byop.Framework"),
        ("import wallaroo", "wallaroo.framework.Framework", "byop.Framework"),
        (
            "from wallaroo.deployment_config import DeploymentConfigBuilder",
            "DeploymentConfigBuilder",
            "byop.DeploymentConfigBuilder",
        ),
        ("from wallaroo.pipeline import Pipeline", "Pipeline", "byop.client.Pipeline"),
    ],
)
def test_import_line_of_the_documents_gives_our_class(line: str, name: str, same: str) -> None:
    assert run(f"{line}\nimport byop, byop.errors, byop.client\nprint({name} is {same})") == "True"


def test_module_that_is_not_served_is_missing() -> None:
    code = (
        "try:\n    import wallaroo.assays\n"
        "except ModuleNotFoundError as error:\n    print(error.name)"
    )
    assert run(code) == "wallaroo.assays"


def test_alias_comes_before_an_installed_package(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("site")
    (folder / "wallaroo.py").write_text("raise RuntimeError('the wrong one')\n")
    code = f"import sys; sys.path.insert(0, {str(folder)!r})\nimport wallaroo, byop"
    assert run(f"{code}\nprint(wallaroo.__version__ == byop.__version__)") == "True"


def test_alias_itself_imports_nothing_heavy_until_it_is_used() -> None:
    code = (
        "import sys; print([m for m in ('pandas', 'byop.server', 'fastapi') if m in sys.modules])"
    )
    assert run(f"import wallaroo\n{code}") == "[]"
