import subprocess
import sys
from importlib.util import cache_from_source
from pathlib import Path

from byop.engine import compile_packages


def is_compiled(path: Path) -> bool:
    return Path(cache_from_source(str(path))).exists()


def test_all_but_tests_and_broken_files_is_compiled(tmp_path: Path) -> None:
    environment = tmp_path / "tests" / "environment"
    packages = environment / "lib" / "python3" / "site-packages"
    wanted = ["one.py", "pkg/__init__.py", "pkg/testing/tool.py", "pkg/_tests.py", "contest/x.py"]
    unwanted = ["pkg/tests/__init__.py", "pkg/deep/test/x.py", "tests/x.py"]
    for name in [*wanted, *unwanted]:
        (packages / name).parent.mkdir(parents=True, exist_ok=True)
        (packages / name).write_text("x = 1\n")
    (packages / "template.py").write_text("{{ name }} = \n")
    command = [sys.executable, "-I", compile_packages.__file__, str(environment)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout + done.stderr == ""
    assert [name for name in wanted if not is_compiled(packages / name)] == []
    assert [name for name in unwanted if is_compiled(packages / name)] == []
    assert not is_compiled(packages / "template.py")
