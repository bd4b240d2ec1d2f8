"""Reads corrections.md and applies it to the seeds' snippets, exactly as it says."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent
SNIPPETS = FOLDER / "snippets"
LINE_BREAK = "\N{RETURN SYMBOL}"

_CELL = re.compile(r"(?<!\\)\|")
_CODE = re.compile(r"(`+)(.*)\1", re.DOTALL)
_FENCE = "```"


class CorrectionError(Exception):
    """corrections.md says something about a snippet that is not so."""


@dataclass(frozen=True, slots=True)
class Correction:
    """``old`` stands once in line ``line`` of the seed that ``file`` was copied from."""

    file: str
    line: int
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Corrections:
    """What corrections.md holds: see its own words for the meaning of the four parts."""

    substitutions: dict[str, str] = field(default_factory=dict)
    given_names: tuple[str, ...] = ()
    replacements: tuple[Correction, ...] = ()
    line_breaks: dict[str, str] = field(default_factory=dict)

    def files(self) -> set[str]:
        """Return every snippet that is spoken of."""
        return {entry.file for entry in self.replacements} | set(self.line_breaks)

    def apply(self, file: str, *, filled_in: dict[str, str]) -> str:
        """Return the snippet as it can run; ``filled_in`` gives ``{server}`` and the like.

        Raises:
            CorrectionError: A correction does not fit the snippet.
        """
        printed = read_snippet(file)
        if file in self.line_breaks:
            parts = [_restored(file, printed, self.line_breaks[file])]
        else:
            parts = printed.splitlines(keepends=True)
        for correction in self.replacements:
            if correction.file == file:
                _replace(parts, correction)
        text = "".join(parts)
        for old, new in self.substitutions.items():
            text = text.replace(old, _fill(new, filled_in))
        return text


def read_snippet(file: str) -> str:
    """Return a snippet as the seed prints it."""
    return (SNIPPETS / f"{file}.txt").read_text(encoding="utf-8")


@cache
def read_corrections(path: Path = FOLDER / "corrections.md") -> Corrections:
    """Return the document's content."""
    tables: dict[str, list[list[str]]] = {}
    breaks: dict[str, str] = {}
    heading = file = ""
    lines = iter(path.read_text(encoding="utf-8").splitlines())
    for line in lines:
        if line.startswith("## "):
            heading = line.removeprefix("## ").strip()
        elif line.startswith("### "):
            file = line.removeprefix("### ").strip()
        elif line.startswith(_FENCE):
            breaks[file] = "\n".join(_until_fence(lines)) + "\n"
        elif line.startswith("|"):
            tables.setdefault(heading, []).append(_cells(line))
    return Corrections(
        substitutions={old: new for old, new, _ in _rows(tables, "Hosts and names")},
        given_names=tuple(name for name, _ in _rows(tables, "Values that the runner gives")),
        replacements=tuple(
            Correction(file, int(line), old, new)
            for file, line, old, new, _ in _rows(tables, "Misprints")
        ),
        line_breaks=breaks,
    )


def _until_fence(lines: Iterator[str]) -> Iterator[str]:
    for line in lines:
        if line.startswith(_FENCE):
            return
        yield line


def _rows(tables: dict[str, list[list[str]]], heading: str) -> list[list[str]]:
    """Return a table's rows without its head and the rule below it."""
    return tables[heading][2:]


def _cells(line: str) -> list[str]:
    return [_cell(cell.strip()) for cell in _CELL.split(line.strip().strip("|"))]


def _cell(text: str) -> str:
    found = _CODE.fullmatch(text)
    if found is None:
        return text
    return found[2].replace("\\|", "|").replace(LINE_BREAK, "\n")


def _restored(file: str, printed: str, restored: str) -> str:
    if printed.split() != restored.split():
        raise CorrectionError(
            f"{file}: the block with line breaks differs by more than white space"
        )
    return restored


def _replace(parts: list[str], correction: Correction) -> None:
    """Replace within a line; a snippet whose line breaks were lost is one part."""
    index = correction.line - int(correction.file.split("-")[1])
    part = 0 if len(parts) == 1 else index
    where = f"{correction.file}, line {correction.line}"
    if index < 0 or part >= len(parts):
        raise CorrectionError(f"{where}: the snippet has no such line")
    times = parts[part].count(correction.old)
    if times != 1:
        raise CorrectionError(
            f"{where}: {correction.old!r} stands {times} times in {parts[part]!r}"
        )
    parts[part] = parts[part].replace(correction.old, correction.new)


def _fill(text: str, filled_in: dict[str, str]) -> str:
    for name, value in filled_in.items():
        text = text.replace(f"{{{name}}}", value)
    return text
