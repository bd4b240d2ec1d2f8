"""Inference records for the tests of logs."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pyarrow as pa

from byop.domain.inferences import InferenceMetadata, InferenceRecord, no_anomalies
from byop.ports.inference_log import FollowedPage, InferenceLog, LogPage, LogQuery

METADATA = InferenceMetadata(
    last_model='{"model_name": "m", "model_sha": "abc"}',
    pipeline_version="22222222-bbbb-4000-8000-000000000002",
    elapsed_ns=(21, 3_000_000_000),
)


def make_record(numbers: Sequence[int], *, time_ms: int = 1000) -> InferenceRecord:
    """Rows whose input is a number and whose output tells it again."""
    inputs = pa.RecordBatch.from_pydict({"n": pa.array(numbers, pa.int64())})
    texts = [f"row {number}" for number in numbers]
    outputs = pa.RecordBatch.from_pydict({"told": pa.array(texts, pa.string())})
    return InferenceRecord(time_ms, inputs, outputs, no_anomalies(len(numbers)), METADATA)


def make_other_record(numbers: Sequence[int], *, time_ms: int = 1000) -> InferenceRecord:
    """Rows with other output columns."""
    record = make_record(numbers, time_ms=time_ms)
    return replace(record, outputs=record.outputs.rename_columns(["other"]))


def rows_of(page: LogPage | FollowedPage) -> list[tuple[int, int]]:
    """Time and number of every row, after checking that input and output still go together."""
    rows = []
    for record in page.records:
        numbers = record.inputs.column("n").to_pylist()
        assert record.outputs.column(0).to_pylist() == [f"row {number}" for number in numbers]
        assert record.anomalies.num_rows == len(numbers)
        rows += [(record.time_ms, number) for number in numbers]
    return rows


def numbers_of(page: LogPage | FollowedPage) -> list[int]:
    return [number for _, number in rows_of(page)]


def pages_of(log: InferenceLog, query: LogQuery) -> Iterator[LogPage]:
    """Every page from ``query`` on."""
    while True:
        page = log.read(query)
        yield page
        if page.cursor is None:
            return
        query = replace(query, cursor=page.cursor)
