"""The manifest: which segments the inference log has. Changed inside a caller's transaction."""

import sqlite3
from collections.abc import Mapping

from byop.store.log_segments import WrittenSegment


def add_segment(
    connection: sqlite3.Connection, topic_id: int, schema_id: int, written: WrittenSegment
) -> None:
    """Enter a segment."""
    groups = written.groups
    segment_id = connection.execute(
        "INSERT INTO segments (topic_id, schema_id, name, rows, size, first_ms, last_ms)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            topic_id,
            schema_id,
            written.name,
            sum(group.rows for group in groups),
            written.size_bytes,
            groups[0].first.time_ms,
            groups[-1].last.time_ms,
        ),
    ).lastrowid
    connection.executemany(
        "INSERT INTO segment_groups VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [(segment_id, one.number, one.rows, *one.first, *one.last) for one in groups],
    )
    connection.executemany(
        "INSERT INTO segment_places"
        " (topic_id, partition_id, first_seq, end_seq, rows, segment_id, number)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        [
            (topic_id, *place, segment_id, group.number)
            for group in groups
            for place in group.places
        ],
    )


def mark_rolled(connection: sqlite3.Connection, topic_id: int, ends: Mapping[int, int]) -> None:
    """Take the rows before each partition's end out of what readers see of ``tail``."""
    connection.executemany(
        "INSERT INTO removals VALUES (?, ?, ?)"
        " ON CONFLICT DO UPDATE SET end_seq = max(end_seq, excluded.end_seq)",
        [(topic_id, partition_id, end) for partition_id, end in ends.items()],
    )


def segment_names(connection: sqlite3.Connection) -> set[str]:
    """Return the names of all segments."""
    return {name for (name,) in connection.execute("SELECT name FROM segments")}


def remove_old_segments(
    connection: sqlite3.Connection, *, before_ms: int | None, max_bytes: int
) -> list[str]:
    """Take segments out, oldest first, and return their names.

    That is: all whose newest row is older than ``before_ms``, and more until the rest has at most
    ``max_bytes``; 0 is no limit.
    """
    by_age = "SELECT id, name, size FROM segments ORDER BY last_ms, id"
    (total,) = connection.execute("SELECT coalesce(sum(size), 0) FROM segments").fetchone()
    (old,) = connection.execute(
        "SELECT count(*) FROM segments WHERE last_ms < ?", (before_ms,)
    ).fetchone()
    chosen: list[tuple[int, str]] = []
    for segment_id, name, size in connection.execute(by_age):
        if len(chosen) >= old and not (max_bytes and total > max_bytes):
            break
        chosen.append((segment_id, name))
        total -= size
    for table, column in (
        ("segment_places", "segment_id"),
        ("segment_groups", "segment_id"),
        ("segments", "id"),
    ):
        connection.executemany(
            f"DELETE FROM {table} WHERE {column} = ?",  # noqa: S608 (constants)
            [(segment_id,) for segment_id, _ in chosen],
        )
    return [name for _, name in chosen]
