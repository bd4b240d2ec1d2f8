import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from byop.domain.inferences import (
    InferenceMetadata,
    InferenceRecord,
    JoinedRecords,
    no_anomalies,
)
from byop.tables.arrays import from_arrays
from byop.tables.datasets import DatasetSelection
from byop.tables.results import encode_json, to_arrow
from tests.tables.arrow_strategies import batches

METADATA = InferenceMetadata(
    last_model='{"model_name":"apimodel","model_sha":"bc85"}',
    pipeline_version="5c1bc3b1-9a1c-4a3c-9a4b-0f0c5e1c8a11",
    elapsed_ns=(163502, 309804),
)


def record(rows: int = 2, *, time_ms: int = 1684356836285, first: int = 0) -> InferenceRecord:
    numbers = np.arange(first, first + rows * 2, dtype=np.float32).reshape(rows, 2) / 10
    return InferenceRecord(
        time_ms=time_ms,
        inputs=from_arrays({"tensor": numbers}, None),
        outputs=from_arrays({"dense_1": np.full((rows, 1), 0.0014974177, np.float32)}, None),
        anomalies=no_anomalies(rows),
        metadata=METADATA,
    )


def select(
    *dataset: str, exclude: tuple[str, ...] = (), separator: str | None = "."
) -> DatasetSelection:
    return DatasetSelection.parse(dataset, exclude, separator)


def test_nested_json_is_what_the_documents_show() -> None:
    assert encode_json([record(1)], select(separator=None)) == (
        b'[{"time":1684356836285,"in":{"tensor":[0.0,0.1]},"out":{"dense_1":[0.0014974177]},'
        b'"anomaly":{"count":0},"check_failures":[],"metadata":{"last_model":'
        b'"{\\"model_name\\":\\"apimodel\\",\\"model_sha\\":\\"bc85\\"}",'
        b'"pipeline_version":"5c1bc3b1-9a1c-4a3c-9a4b-0f0c5e1c8a11",'
        b'"elapsed":[163502,309804],"dropped":[],"partition":"local"}}]'
    )


def test_flat_json_is_what_the_documents_show() -> None:
    assert encode_json([record(2)], select()) == (
        b'[{"time":1684356836285,"in.tensor":[0.0,0.1],"out.dense_1":[0.0014974177],'
        b'"anomaly.count":0},{"time":1684356836285,"in.tensor":[0.2,0.3],'
        b'"out.dense_1":[0.0014974177],"anomaly.count":0}]'
    )


def test_flat_arrow_is_what_the_documents_show() -> None:
    batch = to_arrow([record(2)], select())
    assert batch.schema.equals(
        pa.schema(
            [
                ("time", pa.timestamp("ms")),
                ("in.tensor", pa.list_(pa.float32())),
                ("out.dense_1", pa.list_(pa.float32())),
                ("anomaly.count", pa.int8()),
            ]
        )
    )
    assert batch.column(0).cast(pa.int64()).to_pylist() == [1684356836285] * 2


def test_nested_arrow_has_structs_and_time_as_a_number() -> None:
    batch = to_arrow([record(1)], select(separator=None))
    row = batch.to_pylist()[0]
    assert row["time"] == 1684356836285
    assert row["out"] == {"dense_1": [float(np.float32(0.0014974177))]}
    assert row["check_failures"] == []
    assert batch.schema.names == ["time", "in", "out", "anomaly", "check_failures", "metadata"]


def test_elapsed_is_a_list_of_uint64() -> None:
    batch = to_arrow([record(2)], select("metadata"))
    elapsed = batch.column(batch.schema.names.index("metadata.elapsed"))
    assert elapsed.type == pa.list_(pa.uint64())
    assert elapsed.to_pylist() == [[163502, 309804]] * 2
    assert all(name.startswith("metadata.") for name in batch.schema.names)


def test_other_separators_join_part_and_field() -> None:
    rows = json.loads(encode_json([record(1)], select(separator="_")))
    assert list(rows[0]) == ["time", "in_tensor", "out_dense_1", "anomaly_count"]
    assert to_arrow([record(1)], select(separator="_")).schema.names == list(rows[0])


def test_a_single_field_is_nested_alone() -> None:
    chosen = select("out.dense_1", "metadata.elapsed", separator=None)
    assert json.loads(encode_json([record(1)], chosen)) == [
        {"out": {"dense_1": [0.0014974177]}, "metadata": {"elapsed": [163502, 309804]}}
    ]


def test_nothing_selected_gives_empty_objects() -> None:
    assert encode_json([record(2)], select("time", exclude=("time",))) == b"[{},{}]"


def test_validations_are_columns_and_failures() -> None:
    anomalies = from_arrays(
        {
            "count": np.array([1, 0], np.int8),
            "too_high": np.array([True, False]),
            "too_low": np.array([False, False]),
        },
        None,
    )
    whole = record(2)
    checked = InferenceRecord(whole.time_ms, whole.inputs, whole.outputs, anomalies, whole.metadata)
    flat = json.loads(encode_json([checked], select("anomaly")))
    assert flat == [
        {"anomaly.count": 1, "anomaly.too_high": True, "anomaly.too_low": False},
        {"anomaly.count": 0, "anomaly.too_high": False, "anomaly.too_low": False},
    ]
    nested = select("check_failures", separator=None)
    failures = [{"check_failures": ["too_high"]}, {"check_failures": []}]
    assert json.loads(encode_json([checked], nested)) == failures
    assert to_arrow([checked], nested).to_pylist() == failures


def test_rows_of_many_records_keep_their_times_and_order() -> None:
    records = [record(1, time_ms=3), record(2, time_ms=2, first=9), record(0), record(1, time_ms=1)]
    rows = json.loads(encode_json(records, select()))
    assert [row["time"] for row in rows] == [3, 2, 2, 1]
    assert [row["in.tensor"][0] for row in rows] == [0.0, 0.9, 1.1, 0.0]
    batch = to_arrow(records, select())
    assert batch.column(0).cast(pa.int64()).to_pylist() == [3, 2, 2, 1]
    assert batch.column(1).to_pylist() == [
        value for one in records for value in one.inputs.column(0).to_pylist()
    ]


def test_no_records_and_no_rows_give_an_empty_list() -> None:
    for selection in (select(), select(separator=None), select("metadata")):
        for records in ([], [record(0)]):
            assert encode_json(records, selection) == b"[]"
            assert to_arrow(records, selection).num_rows == 0
    assert to_arrow([], select()).schema.names == ["time", "anomaly.count"]


@given(batches(), st.sampled_from([".", None]))
def test_json_and_arrow_say_the_same(batch: pa.RecordBatch, separator: str | None) -> None:
    whole = InferenceRecord(7, batch, batch, no_anomalies(batch.num_rows), METADATA)
    selection = select("*", "metadata", separator=separator)
    answer = to_arrow([whole], selection)
    answer.validate(full=True)
    rows = json.loads(encode_json([whole], selection))
    assert len(rows) == batch.num_rows == answer.num_rows
    assert all(list(row) == answer.schema.names for row in rows)


@given(batches(), st.integers(0, 5))
def test_an_inference_in_two_halves_reads_as_the_whole(batch: pa.RecordBatch, cut: int) -> None:
    whole = InferenceRecord(7, batch, batch, no_anomalies(batch.num_rows), METADATA)
    halves = [whole.slice(0, cut), whole.slice(min(cut, batch.num_rows))]
    for selection in (select("*", "metadata"), select(separator=None)):
        assert encode_json(halves, selection) == encode_json([whole], selection)
        assert to_arrow(halves, selection).equals(to_arrow([whole], selection))


def test_joined_records_are_written_as_the_records_are() -> None:
    whole = record(6)
    checked = pa.RecordBatch.from_pydict({"count": pa.array([0, 1] * 3, pa.int8())})
    checked = checked.append_column("odd", pa.array([False, True] * 3))
    metadata = [METADATA, replace(METADATA, elapsed_ns=(7,)), METADATA]
    joined = JoinedRecords([3, 2, 1], [1, 3, 2], whole.inputs, whole.outputs, checked, metadata)
    for separator in (None, "."):
        selection = select("*", "metadata", separator=separator)
        assert encode_json(joined, selection) == encode_json(list(joined), selection)
        assert to_arrow(joined, selection).equals(to_arrow(list(joined), selection))
