"""The table in docs/security.md says what the tests of this folder show, and nothing more."""

import re
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
TABLE = FOLDER.parents[1] / "docs" / "security.md"
SIZES = {"A": 22, "B": 18, "G": 16, "H": 26, "J": 22}
_ROW = re.compile(r"^\| ([A-Z])(\d+) \| .+? \| (\S[^|]*?) \| ?(.*?) ?\|$", re.MULTILINE)
_CASE = re.compile(r"def test_([a-z])(\d\d)_")


def rows() -> dict[tuple[str, int], tuple[str, str]]:
    """Return state and explanation by number."""
    found = _ROW.findall(TABLE.read_text())
    assert len({(letter, number) for letter, number, _, _ in found}) == len(found)
    return {(letter, int(number)): (state, how) for letter, number, state, how in found}


def cases() -> set[tuple[str, int]]:
    """Return the numbers of the cases in this folder."""
    return {
        (letter.upper(), int(number))
        for path in FOLDER.glob("test_*.py")
        for letter, number in _CASE.findall(path.read_text())
    }


def test_table_has_every_attack_once() -> None:
    expected = {(letter, n) for letter, size in SIZES.items() for n in range(1, size + 1)}

    assert set(rows()) == expected


def test_attack_has_a_case_exactly_when_the_table_says_passed() -> None:
    passed = {number for number, (state, _) in rows().items() if state == "passed"}

    assert passed == cases()


def test_every_state_is_one_of_three_and_explained() -> None:
    for number, (state, how) in rows().items():
        assert state in {"passed", "not applicable", "open"}, number
        assert how or state != "not applicable", number
