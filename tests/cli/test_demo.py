import os
import subprocess
import sys
from pathlib import Path

import psutil

from byop.cli.demo import PROMPTS, RUDE_ANSWER
from tests.fakes.servers import ENVIRONMENTS


def test_demo_scores_answers_and_leaves_nothing_behind(tmp_path: Path) -> None:
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith("BYOP_")},
        "BYOP_ENVIRONMENTS_DIR": str(ENVIRONMENTS),
        "COLUMNS": "200",
        "TMPDIR": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-m", "byop", "demo"],
        check=False,
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for text in (*PROMPTS, RUDE_ANSWER, "out.toxicity", "the log holds 6 rows", "undeployed"):
        assert text in done.stdout
    assert list(tmp_path.iterdir()) == []
    left = [p for p in psutil.process_iter(["environ"]) if _is_ours(p, tmp_path)]
    assert left == []


def test_demo_against_openai_needs_a_key() -> None:
    environment = {k: v for k, v in os.environ.items() if k != "OPENAI_API_KEY"}
    done = subprocess.run(
        [sys.executable, "-m", "byop", "demo", "--real"],
        check=False,
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 1
    assert "OPENAI_API_KEY" in done.stderr


def _is_ours(process: psutil.Process, folder: Path) -> bool:
    environ: dict[str, str] = process.info["environ"] or {}
    return environ.get("TMPDIR") == str(folder)
