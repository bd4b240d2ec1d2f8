"""``byop sandbox`` as a process."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import requests

COMMAND = (
    "import typer; from byop.cli import sandbox; app = typer.Typer(); sandbox.register(app); app()"
)


def start(*options: str, key: str | None = None) -> subprocess.Popen[str]:
    environment = {k: v for k, v in os.environ.items() if k != "SANDBOX_API_KEY"}
    if key is not None:
        environment["SANDBOX_API_KEY"] = key
    return subprocess.Popen(
        [sys.executable, "-u", "-c", COMMAND, "--port", "0", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def test_generated_key_is_printed_and_ctrl_c_ends_cleanly() -> None:
    with start() as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(3)]
        exported = dict(re.findall(r"export (\w+)=(\S+)", "".join(lines)))
        answer = requests.get(
            exported["OPENAI_BASE_URL"] + "/models",
            headers={"authorization": f"Bearer {exported['OPENAI_API_KEY']}"},
            timeout=30,
        )
        assert answer.status_code == 200
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (0, "")


def test_given_key_is_not_printed(tmp_path: Path) -> None:
    script = tmp_path / "script.toml"
    script.write_text('[[rules]]\nanswer = "Scripted."\n')
    with start("--script", str(script), key="sk-canary-5501") as process:
        assert process.stdout is not None
        first, second = process.stdout.readline(), process.stdout.readline()
        answer = requests.post(
            second.partition("=")[2].strip() + "/chat/completions",
            json={"model": "m", "messages": [{"role": "user", "content": "Hi"}]},
            headers={"authorization": "Bearer sk-canary-5501"},
            timeout=30,
        )
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=30)
    assert answer.json()["choices"][0]["message"]["content"] == "Scripted."
    assert "sk-canary-5501" not in first + second + rest + errors


def test_unreadable_script_is_one_line_on_stderr(tmp_path: Path) -> None:
    process = start("--script", str(tmp_path / "absent.toml"))
    output, errors = process.communicate(timeout=30)
    assert (process.returncode, output) == (1, "")
    assert errors.startswith("error: sandbox script absent.toml")
    assert len(errors.splitlines()) == 1
