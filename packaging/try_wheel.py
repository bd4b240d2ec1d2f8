"""Build the wheel, install it in an environment of its own and run the demo from there.

What an editable checkout hides shows here: projects, templates or migrations that the wheel
lacks. Usage: ``python packaging/try_wheel.py``.
"""

import os
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

import uv

ROOT = Path(__file__).resolve().parents[1]
NEEDED = (
    "byop/_projects/providers/openai_chat/model.toml",
    "byop/_projects/listeners/toxicity/weights.npz",
    "byop/bundle/templates/",
    "byop/store/migrations/",
    "byop/engine/runtime-constraints.txt",
    "byop/py.typed",
)


def main() -> None:
    """Exit with 0 when the installed wheel does the main job."""
    with tempfile.TemporaryDirectory(prefix="byop-wheel-") as scratch:
        folder = Path(scratch)
        wheel = build(folder / "dist")
        check_content(wheel)
        environment = folder / "venv"
        venv.create(environment, with_pip=False)
        python = environment / "bin" / "python"
        run([uv.find_uv_bin(), "pip", "install", "-q", "--python", python, f"{wheel}[pandas]"])
        run([environment / "bin" / "byop", "demo"], cwd=folder)
    print(f"{wheel.name}: installed and run")


def build(target: Path) -> Path:
    """Return the wheel of this checkout."""
    run([uv.find_uv_bin(), "build", "-q", "--wheel", "--out-dir", target, ROOT])
    return next(target.glob("*.whl"))


def check_content(wheel: Path) -> None:
    """Fail when something that the package reads at run time is not in the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    missing = [needed for needed in NEEDED if not any(name.startswith(needed) for name in names)]
    foreign = sorted({name.partition("/")[0] for name in names} - {"byop"})
    foreign = [name for name in foreign if not name.endswith(".dist-info")]
    if missing or foreign:
        sys.exit(f"{wheel.name} lacks {missing} and holds {foreign}")


def run(command: list[str | Path], cwd: Path | None = None) -> None:
    """Run a command without what the checkout's own environment would lend it."""
    environment = {k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "PYTHONPATH")}
    subprocess.run(command, check=True, cwd=cwd, env=environment)  # noqa: S603 - ours


if __name__ == "__main__":
    main()
