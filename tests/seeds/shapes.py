"""Comparing an answer with the one that a seed shows: keys and types, not values."""

import ast

from tests.seeds.corrections import read_snippet


def shown_answer(file: str) -> object:
    """Return the answer that the seed prints."""
    return ast.literal_eval(read_snippet(f"{file}.answer").strip())


def assert_shape(got: object, shown: object, where: str = "answer") -> None:
    """Check that ``got`` has every key of ``shown``, with values of the same types.

    Further keys may be there. A list must hold items when the shown one does, each of the shape
    of the first. What is shown as None may be anything.
    """
    if shown is None:
        return
    assert type(got) is type(shown), f"{where}: {got!r} is no {type(shown).__name__}"
    if isinstance(shown, dict) and isinstance(got, dict):
        for key, value in shown.items():
            assert key in got, f"{where} has no {key!r}: {sorted(got)}"
            assert_shape(got[key], value, f"{where}.{key}")
    elif isinstance(shown, list) and isinstance(got, list) and shown:
        assert got, f"{where} is empty"
        for index, item in enumerate(got):
            assert_shape(item, shown[0], f"{where}[{index}]")
