"""Reading a pipeline's log page by page (seed 001, "Pipeline Log Management")."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import orjson
import pyarrow as pa

from byop.client.api import ARROW_FILE, RECORDS, Api, Call
from byop.client.frames import decode_frame
from byop.client.payloads import read_records, read_table

DEFAULT_LIMIT = 100
_LARGEST_PAGE = 10_000
_ALL = "All"
_PATH = "/v1/api/pipelines/get_logs"
_FIRST = datetime(1970, 1, 1, tzinfo=UTC)
_LAST = datetime(9999, 12, 31, tzinfo=UTC)
"""Open ends of a period; "now" would lose rows to a clock that is behind the server's."""

Page = TypeVar("Page", pa.Table, list[object])


@dataclass(frozen=True, slots=True)
class LogWindow:
    """Rows to read: the newest ``limit``, newest first; or those of a period, oldest first.

    ``limit`` None means 100 without a period and all rows in one. A time without a zone is the
    local one, as everywhere in Python.
    """

    limit: int | None = None
    start: datetime | None = None
    end: datetime | None = None

    @property
    def row_limit(self) -> int | None:
        """Rows to read at most, None for all."""
        if self.limit is None and self.start is None and self.end is None:
            return DEFAULT_LIMIT
        return self.limit

    def question(self) -> dict[str, object]:
        """Return the part of the request that says which rows."""
        if self.start is None and self.end is None:
            return {"order": "Desc"}
        start = self.start or _FIRST
        end = self.end or _LAST
        return {
            "order": "Asc",
            "start_time": start.astimezone(UTC).isoformat(),
            "end_time": end.astimezone(UTC).isoformat(),
        }


class LogReader:
    """Reads the log of one pipeline."""

    def __init__(self, api: Api, *, pipeline_name: str, workspace_id: int) -> None:
        self._api = api
        self._subject = {"pipeline_id": pipeline_name, "workspace_id": workspace_id}

    def read_table(self, window: LogWindow, selection: Sequence[tuple[str, str]]) -> pa.Table:
        """Return the rows as one Arrow table.

        Rows of pipeline versions with other columns get nulls in the columns they lack. Where a
        column changed its type the reading ends, with a warning.
        """
        joined: pa.Table | None = None
        for page in self._pages(window, selection, ARROW_FILE, read_table, _table_rows):
            if joined is None:
                joined = page
                continue
            try:
                joined = pa.concat_tables([joined, page], promote_options="default")
            except pa.ArrowException:
                warnings.warn(
                    f"the log's columns changed their types: {joined.num_rows} rows read; ask for "
                    "a period to read the others",
                    stacklevel=3,
                )
                break
        return pa.table({}) if joined is None else joined

    def read_frame(self, window: LogWindow, selection: Sequence[tuple[str, str]]) -> Any:  # noqa: ANN401 - a DataFrame; pandas is optional
        """Return the rows as one DataFrame."""
        rows: list[object] = []
        for page in self._pages(window, selection, RECORDS, read_records, len):
            rows.extend(page)
        return decode_frame(rows)

    def _pages(
        self,
        window: LogWindow,
        selection: Sequence[tuple[str, str]],
        accept: str,
        read: Callable[[bytes], Page],
        count: Callable[[Page], int],
    ) -> Iterator[Page]:
        left = window.row_limit
        cursor: str | None = None
        while left is None or left > 0:
            size = _LARGEST_PAGE if left is None else min(left, _LARGEST_PAGE)
            question = {**self._subject, **window.question(), "page_size": size}
            if cursor is not None:
                question["cursor"] = cursor
            answer = self._api.send(
                Call(_PATH, orjson.dumps(question), accept=accept, params=selection)
            )
            _warn_of_missing(answer.headers.get("x-iteration-missing"))
            page = read(answer.content)
            yield page
            cursor = answer.headers.get("x-iteration-cursor")
            if cursor is None or answer.headers.get("x-iteration-status", _ALL) == _ALL:
                return
            left = None if left is None else left - count(page)


def _warn_of_missing(rows: str | None) -> None:
    if rows is not None:
        warnings.warn(
            f"{rows} rows of the log can no longer be read; the server's log tells why",
            stacklevel=5,
        )


def _table_rows(table: pa.Table) -> int:
    return int(table.num_rows)
