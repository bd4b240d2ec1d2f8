"""Ids of what log rows refer to, as one writer sees them."""

import json
import sqlite3

from byop.store.log_rows import LogSchema, Origin


class LogCatalog:
    """Looks ids up, or gives them, inside the writer's transaction, and remembers them.

    After a rollback ``forget`` must be called: ids given in it are void.
    """

    def __init__(self, connection: sqlite3.Connection, partition: str) -> None:
        self._connection = connection
        self._partition = partition
        self._topics: dict[str, int] = {}
        self._partitions: dict[str, int] = {}
        self._schemas: dict[bytes, int] = {}
        self._origins: dict[Origin, int] = {}

    def topic_id(self, name: str) -> int:
        """Return the id of a topic."""
        known = self._topics.get(name)
        if known is None:
            known = self._topics[name] = self._named("topics", name)
        return known

    def partition_id(self) -> int:
        """Return the id of the writer's partition."""
        known = self._partitions.get(self._partition)
        if known is None:
            known = self._partitions[self._partition] = self._named("partitions", self._partition)
        return known

    def schema_id(self, schema: LogSchema) -> int:
        """Return the id of a schema."""
        known = self._schemas.get(schema.fingerprint)
        if known is None:
            known = self._schemas[schema.fingerprint] = self._id(
                "INSERT OR IGNORE INTO schemas (fingerprint, arrow_schema) VALUES (?, ?)",
                (schema.fingerprint, schema.serialized),
                "SELECT id FROM schemas WHERE fingerprint = ?",
                (schema.fingerprint,),
            )
        return known

    def origin_id(self, origin: Origin) -> int:
        """Return the id of an origin."""
        known = self._origins.get(origin)
        if known is None:
            values = (
                origin.last_model,
                origin.pipeline_version,
                origin.partition,
                json.dumps(origin.dropped),
            )
            known = self._origins[origin] = self._id(
                "INSERT OR IGNORE INTO origins (last_model, pipeline_version, partition, dropped)"
                " VALUES (?, ?, ?, ?)",
                values,
                "SELECT id FROM origins WHERE last_model = ? AND pipeline_version = ?"
                " AND partition = ? AND dropped = ?",
                values,
            )
        return known

    def forget(self) -> None:
        """Drop every remembered id."""
        for known in (self._topics, self._partitions, self._schemas, self._origins):
            known.clear()

    def _named(self, table: str, name: str) -> int:
        return self._id(
            f"INSERT OR IGNORE INTO {table} (name) VALUES (?)",  # noqa: S608 (two constants)
            (name,),
            f"SELECT id FROM {table} WHERE name = ?",  # noqa: S608
            (name,),
        )

    def _id(
        self,
        insert: str,
        inserted: tuple[str | bytes, ...],
        select: str,
        selected: tuple[str | bytes, ...],
    ) -> int:
        """Insert unless another writer did, then read the id."""
        self._connection.execute(insert, inserted)
        return int(self._connection.execute(select, selected).fetchone()[0])
