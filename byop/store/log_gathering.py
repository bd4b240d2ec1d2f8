"""Stored rows on their way into a segment, made flat a few at a time.

Joining 100,000 rows at once is one step to Python, in which no append goes on.
"""

import contextlib
from collections.abc import Callable
from typing import Final, NamedTuple

import pyarrow as pa

from byop.store.log_flat import FlatRows, StoredColumns, StoredFacts, flatten, join
from byop.store.log_rows import LogSchema

_PART_ROWS: Final = 2048
_PART_BYTES: Final = 4 << 20


class _Stored(NamedTuple):
    facts: StoredFacts
    encoded: bytes


class GatheredRows:
    """Rows of one schema. ``lost`` are those that cannot be read, complete after ``flat``.

    Args:
        schema: Of all rows.
        partition: Returns the name of a partition.
    """

    def __init__(self, schema: LogSchema, partition: Callable[[int], str]) -> None:
        self._schema = schema
        self._partition = partition
        self._waiting: list[_Stored] = []
        self._waiting_bytes = 0
        self._parts: list[FlatRows] = []
        self.lost: list[StoredFacts] = []

    def add(self, facts: StoredFacts, encoded: bytes | None) -> None:
        """Take a stored row; None when its values are gone."""
        if encoded is None:
            self.lost.append(facts)
            return
        self._waiting.append(_Stored(facts, encoded))
        self._waiting_bytes += len(encoded)
        if len(self._waiting) >= _PART_ROWS or self._waiting_bytes >= _PART_BYTES:
            self._flatten()

    def flat(self) -> FlatRows | None:
        """Return all rows that can be read; None when there are none."""
        self._flatten()
        return join(self._parts) if self._parts else None

    def _flatten(self) -> None:
        waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
        if not waiting:
            return
        kept, payload = _decode(self._schema, waiting)
        if len(kept) < len(waiting):
            readable = set(map(id, kept))
            self.lost += [one.facts for one in waiting if id(one) not in readable]
        if kept:
            facts = StoredColumns.of([one.facts for one in kept])
            partitions = {one: self._partition(one) for one in set(facts.partition_id)}
            self._parts.append(flatten(self._schema, facts, payload, partitions))


def _decode(schema: LogSchema, stored: list[_Stored]) -> tuple[list[_Stored], pa.Table]:
    """Return the rows that can be read, and their values."""
    with contextlib.suppress(pa.ArrowException, OSError):
        payload = schema.decode_all([one.encoded for one in stored])
        if payload.num_rows == sum(one.facts.rows for one in stored):
            return stored, payload
    batches = []
    readable = []
    for one in stored:
        with contextlib.suppress(pa.ArrowException, OSError):
            batch = schema.decode(one.encoded)
            batch.validate(full=True)
            if batch.num_rows == one.facts.rows:
                batches.append(batch)
                readable.append(one)
    return readable, pa.Table.from_batches(batches, schema.schema)
