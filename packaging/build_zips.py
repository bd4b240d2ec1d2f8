"""Pack every provider and listener project into ``dist/*.zip``.

Run it with the interpreter that byop is installed in: ``python packaging/build_zips.py``.
"""

import sys
from pathlib import Path

from byop.bundle.archive import pack
from byop.bundle.manifest import MANIFEST_NAME
from byop.bundle.shipped import GROUPS
from byop.bundle.validation import validate_folder
from byop.errors import ByopError

ROOT = Path(__file__).resolve().parent.parent


def project_folders(root: Path) -> list[Path]:
    """Return the folders that hold a model project or an orchestration, sorted."""
    return sorted(
        folder
        for group in GROUPS
        for folder in (root / group).glob("*")
        if (folder / MANIFEST_NAME).is_file() or (folder / "main.py").is_file()
    )


def build(root: Path, target: Path) -> int:
    """Pack every project below ``root`` into ``target``; return how many could not be packed."""
    failures = 0
    for folder in project_folders(root):
        try:
            report = validate_folder(folder)
            packed = pack(folder, target / f"{folder.name}.zip")
        except ByopError as error:
            failures += 1
            print(f"{folder.relative_to(root)}: {error.message}", file=sys.stderr)
            continue
        print(f"{packed.path.name:32} {packed.size_bytes:>12} bytes  sha256 {packed.sha}")
        for warning in report.warnings:
            print(f"{folder.name}: warning: {warning}", file=sys.stderr)
    return failures


if __name__ == "__main__":
    sys.exit(1 if build(ROOT, ROOT / "dist") else 0)
