"""Where a value that does not fit its column is told: which column, what was expected and got."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from byop.errors import ColumnTypeMismatchError
from byop.tables.schemas import format_type

Values = list[Any]
"""Elements of one column; what they are is found out while it is built."""

_WORDS: Mapping[type, str] = {
    type(None): "null",
    bool: "bool",
    int: "int",
    float: "float",
    str: "string",
    list: "list",
    dict: "object",
}


@dataclass(frozen=True, slots=True)
class Place:
    """The column that is being built.

    ``may_hold_booleans`` answers whether a boolean can be among the values at all.
    """

    column: str
    declared: pa.DataType
    may_hold_booleans: Callable[[], bool]

    def misfit(self, got: str) -> ColumnTypeMismatchError:
        """Return the error to raise."""
        return ColumnTypeMismatchError(self.column, format_type(self.declared), got)


def describe(value: object) -> str:
    """Return what JSON calls the value's type, or its class."""
    return _WORDS.get(type(value), type(value).__name__)


def describe_types(found: set[type]) -> str:
    """Return the names of several types."""
    return " and ".join(sorted(_WORDS.get(kind, kind.__name__) for kind in found)) or "nothing"
