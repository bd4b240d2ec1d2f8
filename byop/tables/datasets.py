"""Which parts of an inference a caller asked for.

``dataset[]``, ``dataset.exclude[]`` and ``dataset.separator`` of the infer and log routes, as
seed 000 describes them under "Run Inference through Local Variable".
"""

from collections.abc import Sequence
from dataclasses import dataclass

from byop.errors import InvalidPayloadError

PARTS = ("time", "in", "out", "anomaly", "check_failures", "metadata")
"""Top level of an answer, in the order of its fields."""

_FLAT_DEFAULT = frozenset({"time", "in", "out", "anomaly"})
_NESTED_DEFAULT = frozenset(PARTS)
_ALIASES = {"meta": "metadata"}


@dataclass(frozen=True, slots=True)
class DatasetSelection:
    """The fields of an answer and their form.

    Attributes:
        included: Parts (``out``) and fields (``out.dense_1``) that were asked for.
        excluded: Parts and fields that were asked not to be there; this wins.
        separator: Between part and field in flat column names; None nests the fields in objects.
    """

    included: frozenset[str]
    excluded: frozenset[str] = frozenset()
    separator: str | None = "."

    @staticmethod
    def parse(
        dataset: Sequence[str], exclude: Sequence[str], separator: str | None
    ) -> "DatasetSelection":
        """Return the selection of a request's query parameters.

        Nothing asked for means ``*``: time, in, out and anomaly; without a separator also
        check_failures and metadata, as the nested answers of seed 001 show.

        Raises:
            InvalidPayloadError: An item names no dataset.
        """
        included: set[str] = set()
        for item in dataset or ("*",):
            if item == "*":
                included |= _FLAT_DEFAULT if separator else _NESTED_DEFAULT
            else:
                included.add(_canonical(item))
        return DatasetSelection(
            frozenset(included), frozenset(map(_canonical, exclude)), separator or None
        )

    def has(self, part: str, field: str | None = None) -> bool:
        """Whether the whole part, or the field in it, belongs to the answer."""
        if part in self.excluded:
            return False
        if field is None:
            return part in self.included
        name = f"{part}.{field}"
        return name not in self.excluded and (part in self.included or name in self.included)


def _canonical(item: str) -> str:
    part, dot, field = item.partition(".")
    part = _ALIASES.get(part, part)
    if part not in PARTS:
        raise InvalidPayloadError(
            f"dataset {item[:80]!r} is unknown: use *, {', '.join(PARTS)} or a field such as "
            "out.dense_1"
        )
    return part + dot + field
