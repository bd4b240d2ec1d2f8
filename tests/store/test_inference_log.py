"""What every inference log must do."""

import asyncio
import itertools
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from byop.domain.inferences import InferenceMetadata, InferenceRecord
from byop.errors import InvalidPayloadError, StorageUnavailableError
from byop.ports.inference_log import InferenceLog, LogOrder, LogQuery, LogScan, PageStatus
from byop.store.inference_log import SqliteInferenceLog
from tests.fakes.stores import MemoryInferenceLog
from tests.store.log_records import (
    make_other_record,
    make_record,
    numbers_of,
    pages_of,
    rows_of,
)
from tests.store.rolled_log import RolledLog, follow_all, roll

ASCENDING, DESCENDING = LogOrder.ASCENDING, LogOrder.DESCENDING


@pytest.fixture(params=["sqlite", "rolled", "memory"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[InferenceLog]:
    opened: InferenceLog = MemoryInferenceLog()
    if request.param == "sqlite":
        opened = SqliteInferenceLog(tmp_path / "log.sqlite3")
    if request.param == "rolled":
        opened = RolledLog(tmp_path / "log.sqlite3")
    yield opened
    opened.close()


async def _fill(log: InferenceLog, *records: InferenceRecord, topic: str = "t") -> None:
    for record in records:
        await log.append(topic, record)


async def test_appended_record_reads_back_equal(log: InferenceLog) -> None:
    record = make_record([1, 2, 3])
    await _fill(log, record)
    page = log.read(LogQuery("t", order=ASCENDING))
    assert page.records == [record]
    assert (page.status, page.cursor) == (PageStatus.ALL, None)


async def test_metadata_reads_back_as_it_was(log: InferenceLog) -> None:
    metadata = InferenceMetadata("{}", "", (), partition="engine-7", dropped=("in.image", "a,b"))
    await _fill(log, replace(make_record([1]), metadata=metadata), make_record([2]))
    first, second = log.read(LogQuery("t", order=ASCENDING)).records
    assert first.metadata == metadata
    assert second.metadata == make_record([]).metadata


async def test_positions_count_rows_from_zero_in_each_topic(log: InferenceLog) -> None:
    positions = [await log.append("t", make_record([1] * rows)) for rows in (3, 1, 2)]
    assert [position.sequence for position in positions] == [0, 3, 4]
    assert len({position.partition for position in positions}) == 1
    assert (await log.append("other", make_record([1]))).sequence == 0


async def test_topics_do_not_mix(log: InferenceLog) -> None:
    await _fill(log, make_record([1]), topic="a")
    await _fill(log, make_record([2]), topic="b")
    assert numbers_of(log.read(LogQuery("a"))) == [1]
    assert log.read(LogQuery("none")).records == []


async def test_newest_come_first_by_default_rows_of_one_record_too(log: InferenceLog) -> None:
    await _fill(log, make_record([1, 2, 3], time_ms=10), make_record([4, 5], time_ms=20))
    assert numbers_of(log.read(LogQuery("t"))) == [5, 4, 3, 2, 1]
    assert numbers_of(log.read(LogQuery("t", order=ASCENDING))) == [1, 2, 3, 4, 5]


async def test_order_is_time_then_sequence_when_time_goes_backwards(log: InferenceLog) -> None:
    await _fill(
        log,
        make_record([1], time_ms=30),
        make_record([2], time_ms=10),
        make_record([3], time_ms=30),
        make_record([4], time_ms=20),
    )
    assert numbers_of(log.read(LogQuery("t", order=ASCENDING))) == [2, 4, 1, 3]
    assert numbers_of(log.read(LogQuery("t"))) == [3, 1, 4, 2]


@pytest.mark.parametrize(
    ("start_ms", "end_ms", "expected"),
    [
        (None, None, [1, 2, 3, 4]),
        (20, None, [2, 3, 4]),
        (None, 20, [1]),
        (20, 30, [2, 3]),
        (21, 30, []),
        (30, 20, []),
        (-5, 11, [1]),
    ],
)
async def test_window_includes_its_start_and_not_its_end(
    log: InferenceLog, start_ms: int | None, end_ms: int | None, expected: list[int]
) -> None:
    times = {1: 10, 2: 20, 3: 20, 4: 30}
    await _fill(log, *(make_record([number], time_ms=time) for number, time in times.items()))
    query = LogQuery("t", order=ASCENDING, start_ms=start_ms, end_ms=end_ms)
    assert numbers_of(log.read(query)) == expected
    assert numbers_of(log.read(replace(query, order=DESCENDING))) == expected[::-1]


async def test_page_is_record_limited_only_when_more_follow(log: InferenceLog) -> None:
    await _fill(log, make_record([1, 2]), make_record([3]))
    limited = log.read(LogQuery("t", limit=2))
    assert limited.status is PageStatus.RECORD_LIMITED
    assert limited.cursor is not None
    whole = log.read(LogQuery("t", limit=3))
    assert (whole.status, whole.cursor) == (PageStatus.ALL, None)


@pytest.mark.parametrize("order", LogOrder)
async def test_page_ends_inside_a_record_and_the_next_goes_on_there(
    log: InferenceLog, order: LogOrder
) -> None:
    await _fill(log, make_record([1, 2, 3, 4, 5], time_ms=1), make_record([6, 7], time_ms=2))
    pages = [numbers_of(page) for page in pages_of(log, LogQuery("t", order=order, limit=2))]
    expected = {
        ASCENDING: [[1, 2], [3, 4], [5, 6], [7]],
        DESCENDING: [[7, 6], [5, 4], [3, 2], [1]],
    }
    assert pages == expected[order]


async def test_page_limit_may_change_between_pages(log: InferenceLog) -> None:
    await _fill(log, make_record([1, 2, 3, 4, 5]))
    first = log.read(LogQuery("t", limit=1))
    assert numbers_of(log.read(LogQuery("t", limit=100, cursor=first.cursor))) == [4, 3, 2, 1]


async def test_page_ends_where_columns_change(log: InferenceLog) -> None:
    await _fill(
        log,
        make_record([1], time_ms=1),
        make_other_record([2, 3], time_ms=2),
        make_record([4], time_ms=3),
    )
    pages = list(pages_of(log, LogQuery("t", order=ASCENDING)))
    assert [numbers_of(page) for page in pages] == [[1], [2, 3], [4]]
    assert [page.status for page in pages] == [
        PageStatus.SCHEMA_CHANGE,
        PageStatus.SCHEMA_CHANGE,
        PageStatus.ALL,
    ]
    assert [record.outputs.schema.names for record in pages[1].records] == [["other"]]


async def test_new_pipeline_version_with_the_same_columns_is_no_schema_change(
    log: InferenceLog,
) -> None:
    record = make_record([2], time_ms=2)
    newer = replace(record, metadata=replace(record.metadata, pipeline_version="new"))
    await _fill(log, make_record([1], time_ms=1), newer)
    assert log.read(LogQuery("t")).status is PageStatus.ALL


async def test_full_page_before_a_change_of_columns_is_record_limited(log: InferenceLog) -> None:
    await _fill(log, make_record([1], time_ms=1), make_other_record([2], time_ms=2))
    page = log.read(LogQuery("t", order=ASCENDING, limit=1))
    assert page.status is PageStatus.RECORD_LIMITED


async def test_rows_appended_between_pages_do_not_disturb_them(log: InferenceLog) -> None:
    await _fill(log, make_record([1, 2], time_ms=1), make_record([3], time_ms=2))
    first = log.read(LogQuery("t", limit=2))
    await _fill(log, make_record([9], time_ms=9))
    assert numbers_of(first) == [3, 2]
    assert numbers_of(log.read(LogQuery("t", limit=2, cursor=first.cursor))) == [1]


@pytest.mark.parametrize(
    "change",
    [
        {"order": ASCENDING},
        {"start_ms": 0},
        {"end_ms": 5000},
        {"topic": "other"},
    ],
    ids=["order", "start", "end", "topic"],
)
async def test_cursor_of_another_query_is_refused(
    log: InferenceLog, change: dict[str, object]
) -> None:
    await _fill(log, make_record([1, 2]))
    await _fill(log, make_record([1, 2]), topic="other")
    query = LogQuery("t", limit=1)
    other = replace(query, **change, cursor=log.read(query).cursor)  # type: ignore[arg-type]  # any field
    with pytest.raises(InvalidPayloadError):
        log.read(other)


@pytest.mark.parametrize("cursor", ["", "x", "é", "0" * 64, "AAAA====", "\ud800", "1.[]"])
async def test_made_up_cursor_is_refused(log: InferenceLog, cursor: str) -> None:
    await _fill(log, make_record([1, 2]))
    with pytest.raises(InvalidPayloadError):
        log.read(LogQuery("t", cursor=cursor))


async def test_cursor_with_any_character_changed_is_refused(log: InferenceLog) -> None:
    await _fill(log, make_record([1, 2, 3]))
    cursor = log.read(LogQuery("t", limit=1)).cursor
    assert cursor is not None
    for place in range(len(cursor)):
        other = "B" if cursor[place] == "A" else "A"
        with pytest.raises(InvalidPayloadError):
            log.read(LogQuery("t", cursor=cursor[:place] + other + cursor[place + 1 :]))


@pytest.mark.parametrize("limit", [0, -1])
async def test_page_without_rows_cannot_be_asked_for(log: InferenceLog, limit: int) -> None:
    with pytest.raises(InvalidPayloadError):
        log.read(LogQuery("t", limit=limit))


async def test_record_without_rows_leaves_no_trace(log: InferenceLog) -> None:
    await _fill(log, make_record([1]))
    assert (await log.append("t", make_record([]))).sequence == 1
    assert (await log.append("t", make_record([2]))).sequence == 1
    assert numbers_of(log.read(LogQuery("t"))) == [2, 1]


async def test_concurrent_callers_get_distinct_dense_positions_in_their_own_order(
    log: InferenceLog,
) -> None:
    async def call(caller: int) -> list[int]:
        return [
            (await log.append("t", make_record([caller * 100 + turn]))).sequence
            for turn in range(20)
        ]

    per_caller = await asyncio.gather(*(call(caller) for caller in range(16)))
    assert sorted(itertools.chain(*per_caller)) == list(range(320))
    assert all(sequences == sorted(sequences) for sequences in per_caller)
    numbers = numbers_of(log.read(LogQuery("t", order=ASCENDING)))
    for caller, sequences in enumerate(per_caller):
        assert [numbers[at] for at in sequences] == [caller * 100 + turn for turn in range(20)]


async def test_append_and_read_after_close_are_refused(log: InferenceLog) -> None:
    log.close()
    with pytest.raises(StorageUnavailableError):
        await log.append("t", make_record([1]))
    with pytest.raises(StorageUnavailableError):
        log.read(LogQuery("t"))


async def test_follower_sees_each_row_once_in_the_order_of_commits_also_late_ones(
    log: InferenceLog,
) -> None:
    await _fill(log, make_record([1, 2, 3], time_ms=30), make_record([4, 5], time_ms=20))
    first = log.follow("t", limit=4)
    assert (numbers_of(first), first.has_more) == ([1, 2, 3, 4], True)
    assert [position.sequence for position in first.positions] == [0, 3]
    await _fill(log, make_record([6], time_ms=10))
    second = log.follow("t", watermark=first.watermark, limit=4)
    assert (numbers_of(second), second.has_more) == ([5, 6], False)
    assert [position.sequence for position in second.positions] == [4, 5]
    third = log.follow("t", watermark=second.watermark)
    assert (third.records, third.positions, third.has_more) == ([], [], False)


async def test_followed_page_ends_where_columns_change(log: InferenceLog) -> None:
    await _fill(log, make_record([1]), make_other_record([2, 3]), make_record([4]))
    pages = list(follow_all(log, "t"))
    assert [numbers_of(page) for page in pages] == [[1], [2, 3], [4]]
    assert [page.has_more for page in pages] == [True, True, False]


async def test_watermark_that_was_changed_or_is_of_another_topic_is_refused(
    log: InferenceLog,
) -> None:
    await _fill(log, make_record([1]))
    watermark = log.follow("t").watermark
    for topic, wrong in (("other", watermark), ("t", watermark[:-2]), ("t", ""), ("t", "x\udc80")):
        with pytest.raises(InvalidPayloadError):
            log.follow(topic, watermark=wrong)
    with pytest.raises(InvalidPayloadError):
        log.follow("t", limit=0)


async def test_empty_topic_can_be_followed_from_its_beginning(log: InferenceLog) -> None:
    before = log.follow("t")
    assert (before.records, before.has_more) == ([], False)
    await _fill(log, make_record([1]))
    assert numbers_of(log.follow("t", watermark=before.watermark)) == [1]


async def test_scan_yields_the_rows_of_a_window_flat(log: InferenceLog) -> None:
    for time_ms in (10, 20, 30):
        await _fill(log, make_record([time_ms, time_ms + 1], time_ms=time_ms))
    await _fill(log, make_other_record([7], time_ms=20))
    batches = list(log.scan(LogScan("t", start_ms=20, end_ms=30)))
    rows = [row for batch in batches for row in batch.to_pylist()]
    assert sorted(row["in.n"] for row in rows) == [7, 20, 21]
    (row,) = (row for row in rows if row["in.n"] == 21)
    assert (row["sequence"], row["record"], row["out.told"]) == (3, 2, "row 21")
    assert (row["time"].timestamp(), row["partition"]) == (0.02, log.partition)
    assert row["metadata.elapsed_ns"] == [21, 3_000_000_000]
    assert (row["metadata.dropped"], row["metadata.partition"]) == ([], "local")


async def test_scan_of_some_columns_leaves_the_others_out(log: InferenceLog) -> None:
    await _fill(log, make_record([1, 2]), make_other_record([3]))
    batches = list(log.scan(LogScan("t", columns=["out.told", "sequence"])))
    assert {tuple(batch.schema.names) for batch in batches} == {
        ("sequence", "out.told"),
        ("sequence",),
    }
    assert list(log.scan(LogScan("none"))) == []


_COLUMNS = {
    "int64 above 2^53": pa.array([2**53 + 1, None]),
    "float32": pa.array([0.1, None], pa.float32()),
    "text": pa.array(["ü\n", None]),
    "bool": pa.array([True, None]),
    "timestamp": pa.array([0, None], pa.timestamp("us", "UTC")),
    "list": pa.array([[1.0], None], pa.list_(pa.float32())),
    "fixed size list": pa.array([[1.0, 2.0], None], pa.list_(pa.float32(), 2)),
    "nested list": pa.array([[["a"], []], None], pa.list_(pa.list_(pa.string()))),
    "struct": pa.array([{"x": 1}, None], pa.struct({"x": pa.int8()})),
    "binary": pa.array([b"\0", None]),
    "dictionary": pa.array(["a", None]).dictionary_encode(),
    "list of dictionary": pa.ListArray.from_arrays([0, 1, 1], pa.array(["a"]).dictionary_encode()),
    "dotted.name": pa.array([1, 2]),
    "in.out.": pa.array([1, 2]),
    "null": pa.nulls(2),
    "seconds": pa.array([0, None], pa.timestamp("s")),
    "time beyond Parquet's range": pa.array([1 << 62, None], pa.timestamp("s")),
    "duration": pa.array([1, None], pa.duration("s")),
    "small dictionary": pa.array(["a", None]).cast(pa.dictionary(pa.int8(), pa.string())),
    "float16": pa.array(np.array([1.0, 2.0], np.float16)),
    "decimal": pa.array([Decimal("1.50"), None]),
    "large text": pa.array(["a", None], pa.large_string()),
    "empty struct": pa.array([{}, None], pa.struct([])),
    "map": pa.array([[("a", 1)], None], pa.map_(pa.string(), pa.int64())),
}


@pytest.mark.parametrize("name", _COLUMNS)
async def test_every_type_reads_back_equal(log: InferenceLog, name: str) -> None:
    column = _COLUMNS[name]
    batch = pa.RecordBatch.from_arrays([column], names=[name])
    record = replace(make_record([1, 2]), inputs=batch, outputs=batch)
    await _fill(log, record, record.slice(1))
    whole, part = log.read(LogQuery("t", order=ASCENDING)).records
    assert whole == record
    assert part == record.slice(1)
    assert whole.inputs.schema == batch.schema


async def test_record_without_input_columns_keeps_its_rows(log: InferenceLog) -> None:
    record = make_record([1, 2])
    await _fill(log, replace(record, inputs=record.inputs.select([])))
    (kept,) = log.read(LogQuery("t", order=ASCENDING)).records
    assert kept.inputs.num_columns == 0
    assert kept.outputs == record.outputs


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    shape=st.lists(
        st.tuples(st.integers(0, 3), st.integers(1, 4), st.booleans()), min_size=1, max_size=12
    ),
    limit=st.integers(1, 6),
    order=st.sampled_from(LogOrder),
    window=st.tuples(st.none() | st.integers(0, 3), st.none() | st.integers(0, 4)),
)
def test_pages_together_are_exactly_the_rows_in_order_however_much_is_rolled(
    tmp_path_factory: pytest.TempPathFactory,
    shape: list[tuple[int, int, bool]],
    limit: int,
    order: LogOrder,
    window: tuple[int | None, int | None],
) -> None:
    """Some of the rows are rolled between appends, and some between pages."""
    path = tmp_path_factory.mktemp("log") / "log.sqlite3"
    log = SqliteInferenceLog(path)
    memory = MemoryInferenceLog()
    counter = itertools.count()
    expected: list[tuple[int, int]] = []
    for time_ms, rows, is_other in shape:
        numbers = [next(counter) for _ in range(rows)]
        make = make_other_record if is_other else make_record
        for one in (log, memory):
            asyncio.run(one.append("t", make(numbers, time_ms=time_ms)))
        expected += [(time_ms, number) for number in numbers]
        if rows == 2:
            roll(path)
    start, end = window
    expected = sorted(
        row
        for row in expected
        if (start is None or row[0] >= start) and (end is None or row[0] < end)
    )
    query = LogQuery("t", order=order, limit=limit, start_ms=start, end_ms=end)
    pages, fake_pages = [], list(pages_of(memory, query))
    for page in pages_of(log, query):
        pages.append(page)
        if len(pages) == 2:
            roll(path)
    followed = [row for page in follow_all(log, "t", limit=limit) for row in rows_of(page)]
    log.close()
    got = [row for page in pages for row in rows_of(page)]
    assert [number for _, number in followed] == list(range(next(counter)))
    assert got == (expected if order is ASCENDING else expected[::-1])
    assert [(p.status, rows_of(p)) for p in pages] == [(p.status, rows_of(p)) for p in fake_pages]
    assert all(sum(record.rows for record in page.records) <= limit for page in pages)
