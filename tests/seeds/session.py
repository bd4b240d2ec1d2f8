"""Runs the seeds' snippets one after another in one namespace, as a notebook does."""

import ast
import contextlib
import warnings
from collections.abc import Mapping
from pathlib import Path

from tests.seeds.corrections import Corrections, read_corrections


class SeedSession:
    """One notebook. ``displayed`` holds what it displayed, ``names`` its variables."""

    def __init__(self, folder: Path, filled_in: Mapping[str, str]) -> None:
        self.displayed: list[object] = []
        self.names: dict[str, object] = {"__name__": "seed"}
        self._folder = folder
        self._filled_in = dict(filled_in)
        self._corrections: Corrections = read_corrections()
        self.give(display=self.displayed.append)

    def give(self, **values: object) -> None:
        """Set variables that corrections.md says the runner gives."""
        unknown = values.keys() - set(self._corrections.given_names)
        assert not unknown, f"corrections.md does not name {sorted(unknown)}"
        self.names.update(values)

    def code(self, file: str) -> str:
        """Return the corrected snippet."""
        return self._corrections.apply(file, filled_in=self._filled_in)

    def run(self, file: str) -> object:
        """Run a snippet and return the value of its last line, if that is an expression."""
        tree = ast.parse(self.code(file), filename=file)
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        with contextlib.chdir(self._folder), warnings.catch_warnings():
            # The documents leave files open.
            warnings.simplefilter("ignore", ResourceWarning)
            exec(compile(tree, file, "exec"), self.names)  # noqa: S102 - running them is the test
            if not isinstance(last, ast.Expr):
                return None
            return eval(compile(ast.Expression(last.value), file, "eval"), self.names)  # noqa: S307 - as above

    def close(self) -> None:
        """Forget all variables, and with them the files that they hold open."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            self.names.clear()
