"""What log rows refer to by id, as readers see it."""

import json
import sqlite3

import pyarrow as pa

from byop.store.log_rows import LogSchema, Origin


class LogLookup:
    """Looks schemas, origins, partitions and topics up and remembers them: ids never change."""

    def __init__(self) -> None:
        self._schemas: dict[int, LogSchema] = {}
        self._origins: dict[int, Origin] = {}
        self._partitions: dict[int, str] = {}
        self._partition_ids: dict[str, int] = {}
        self._topics: dict[str, int] = {}

    def topic_id(self, connection: sqlite3.Connection, name: str) -> int | None:
        """Return the id of a topic; None when nothing was ever appended to it."""
        known = self._topics.get(name)
        if known is None:
            row = connection.execute("SELECT id FROM topics WHERE name = ?", (name,)).fetchone()
            if row is None:
                return None
            known = self._topics[name] = int(row[0])
        return known

    def schema(self, connection: sqlite3.Connection, schema_id: int) -> LogSchema:
        """Return a schema."""
        known = self._schemas.get(schema_id)
        if known is None:
            (stored,) = connection.execute(
                "SELECT arrow_schema FROM schemas WHERE id = ?", (schema_id,)
            ).fetchone()
            known = LogSchema(pa.ipc.read_schema(pa.py_buffer(stored)))
            self._schemas[schema_id] = known
        return known

    def origin(self, connection: sqlite3.Connection, origin_id: int) -> Origin:
        """Return an origin."""
        known = self._origins.get(origin_id)
        if known is None:
            last_model, pipeline_version, partition, dropped = connection.execute(
                "SELECT last_model, pipeline_version, partition, dropped FROM origins WHERE id = ?",
                (origin_id,),
            ).fetchone()
            known = Origin(last_model, pipeline_version, partition, tuple(json.loads(dropped)))
            self._origins[origin_id] = known
        return known

    def partition(self, connection: sqlite3.Connection, partition_id: int) -> str:
        """Return the name of a partition."""
        known = self._partitions.get(partition_id)
        if known is None:
            (known,) = connection.execute(
                "SELECT name FROM partitions WHERE id = ?", (partition_id,)
            ).fetchone()
            self._partitions[partition_id] = known
        return known

    def partition_id(self, connection: sqlite3.Connection, name: str) -> int:
        """Return the id of a partition that has rows.

        Raises:
            ValueError: There is none of this name.
        """
        known = self._partition_ids.get(name)
        if known is None:
            row = connection.execute("SELECT id FROM partitions WHERE name = ?", (name,)).fetchone()
            if row is None:
                raise ValueError(f"no partition is named {name!r}")
            known = self._partition_ids[name] = int(row[0])
        return known
