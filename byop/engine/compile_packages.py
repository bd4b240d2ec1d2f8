"""Compiles the packages of a new environment, run by its own interpreter: nothing but the library.

Folders of tests are left out: no model imports them, and they are two thirds of the files of
numpy, pandas and pyarrow. A file that does not compile (a template, another Python's) stays as it
is. One process: with 611 or 4,108 files a second one gained nothing and needs shared memory.
"""

import compileall
import re
import sys

_TESTS = re.compile(r"/site-packages/(?:.*/)?tests?/")


def main(environment: str) -> None:
    """Compile what lies in ``lib`` of the environment."""
    compileall.compile_dir(f"{environment}/lib", quiet=2, rx=_TESTS)


if __name__ == "__main__":
    main(sys.argv[1])
