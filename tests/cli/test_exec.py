"""``byop exec`` in a process of its own, as a user runs it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.api_server import EMAIL, running_api_server

PROGRAM = (
    "import typer; from byop.cli import exec as command; "
    "app = typer.Typer(); app.callback()(lambda: None); command.register(app); app()"
)


def run(
    script: Path, *arguments: str, environ: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, "exec", str(script), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **(environ or {})},
        cwd=script.parent.parent,
    )


@pytest.fixture
def script(tmp_path: Path) -> Path:
    folder = tmp_path / "scripts"
    folder.mkdir()
    return folder / "main.py"


def test_script_runs_as_main_with_its_arguments(script: Path) -> None:
    (script.parent / "sibling.py").write_text("NAME = 'sibling'\n")
    script.write_text(
        "import sys, sibling\n"
        "from pathlib import Path\n"
        "print(__name__, sibling.NAME, sys.argv[1:], Path(__file__).name)\n"
        "print(sys.modules['__main__'].sibling is sibling)\n"
    )
    done = run(script, "--flag", "-x", "value", "--help")
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "__main__ sibling ['--flag', '-x', 'value', '--help'] main.py",
        "True",
    ]
    assert done.returncode == 0


def test_seed_imports_are_served(script: Path) -> None:
    script.write_text(
        "import wallaroo\n"
        "from wallaroo.object import EntityNotFoundError\n"
        "from wallaroo.framework import Framework\n"
        "from wallaroo.deployment_config import DeploymentConfigBuilder\n"
        "from mac.inference import Inference\n"
        "from mac.inference.creation import InferenceBuilder\n"
        "from mac.types import InferenceData\n"
        "from mac.config.inference import CustomInferenceConfig\n"
        "print(Framework.CUSTOM, Inference.__module__)\n"
    )
    done = run(script)
    assert done.stderr == ""
    assert done.stdout.startswith("custom byop.sdk")


def test_seed_code_connects(script: Path) -> None:
    # Seed 000, "Connect to Wallaroo", with the stand-in's address.
    script.write_text(
        "import os, wallaroo\n"
        "os.environ['WALLAROO_SDK_CREDENTIALS'] = './scripts/creds.json'\n"
        "wl = wallaroo.Client(api_endpoint=os.environ['URL'],\n"
        "                     auth_endpoint=os.environ['URL'],\n"
        "                     auth_type='user_password')\n"
        "headers = wl.auth.auth_header()\n"
        "print(list(headers), headers['Authorization'].split()[0])\n"
    )
    creds = f'{{"username": "{EMAIL}", "password": "secret", "email": "{EMAIL}"}}'
    (script.parent / "creds.json").write_text(creds)
    with running_api_server() as api:
        done = run(script, environ={"URL": api.url})
    assert done.stderr == ""
    assert done.stdout.strip() == "['Authorization'] Bearer"


@pytest.mark.parametrize(
    ("line", "code", "told"),
    [
        ("raise SystemExit(7)", 7, ""),
        ("import sys; sys.exit()", 0, ""),
        ("raise SystemExit('no luck')", 1, "no luck\n"),
        ("raise KeyboardInterrupt", 130, ""),
    ],
)
def test_exit_code_is_passed_on(script: Path, line: str, code: int, told: str) -> None:
    script.write_text(f"{line}\n")
    done = run(script)
    assert (done.returncode, done.stderr) == (code, told)


def test_error_shows_the_traceback_of_the_script_only(script: Path) -> None:
    script.write_text("def fail():\n    raise ValueError('boom')\n\nfail()\n")
    done = run(script)
    assert done.returncode == 1
    assert done.stderr == (
        "Traceback (most recent call last):\n"
        f'  File "{script}", line 4, in <module>\n'
        "    fail()\n"
        f'  File "{script}", line 2, in fail\n'
        "    raise ValueError('boom')\n"
        "ValueError: boom\n"
    )


def test_script_that_is_no_python_shows_where(script: Path) -> None:
    script.write_text("print(1\n")
    done = run(script)
    assert done.returncode == 1
    assert "byop" not in done.stderr.replace(str(script), "")
    assert f'File "{script}", line 1' in done.stderr
    assert "SyntaxError" in done.stderr


def test_missing_script_is_named(script: Path) -> None:
    done = run(script, environ={"COLUMNS": "400"})
    assert done.returncode == 2
    assert "main.py" in done.stderr
