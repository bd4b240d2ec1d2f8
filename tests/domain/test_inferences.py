from dataclasses import replace

import pyarrow as pa
import pytest

from byop.domain.inferences import (
    InferenceMetadata,
    InferenceRecord,
    JoinedRecords,
    no_anomalies,
)


def _record(rows: int) -> InferenceRecord:
    return InferenceRecord(
        time_ms=1,
        inputs=pa.RecordBatch.from_pydict({"x": list(range(rows))}),
        outputs=pa.RecordBatch.from_pydict({"y": [str(i) for i in range(rows)]}),
        anomalies=no_anomalies(rows),
        metadata=InferenceMetadata(last_model="{}", pipeline_version="v", elapsed_ns=(1, 2)),
    )


def test_no_anomalies_counts_zero_in_every_row() -> None:
    anomalies = no_anomalies(3)
    assert anomalies.schema == pa.schema([("count", pa.int8())])
    assert anomalies.column("count").to_pylist() == [0, 0, 0]


def test_no_anomalies_of_no_rows_is_empty() -> None:
    assert no_anomalies(0).num_rows == 0


def test_slice_keeps_the_columns_together() -> None:
    part = _record(5).slice(2, 2)
    assert part.rows == 2
    assert part.inputs.column("x").to_pylist() == [2, 3]
    assert part.outputs.column("y").to_pylist() == ["2", "3"]
    assert part.anomalies.num_rows == 2
    assert part.time_ms == 1


def test_joined_records_are_its_slices_with_times_and_metadata_of_their_own() -> None:
    whole = _record(6)
    others = replace(whole.metadata, elapsed_ns=())
    joined = JoinedRecords(
        [5, 1], [4, 2], whole.inputs, whole.outputs, whole.anomalies, [whole.metadata, others]
    )
    first = replace(whole.slice(0, 4), time_ms=5)
    second = replace(whole.slice(4, 2), metadata=others)
    assert list(joined) == [first, second] == joined[:]
    assert (joined[0], joined[1], joined[-1], len(joined)) == (first, second, second, 2)
    with pytest.raises(IndexError):
        joined[2]
