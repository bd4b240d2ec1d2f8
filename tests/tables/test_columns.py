import pyarrow as pa
import pytest
from hypothesis import given

from byop.errors import (
    ColumnLengthMismatchError,
    ColumnMissingError,
    ColumnTypeMismatchError,
    ColumnUnexpectedError,
)
from byop.tables.columns import conform
from byop.tables.schemas import schema_from_mapping
from tests.tables.arrow_strategies import batches


def batch_of(values: list[object], kind: pa.DataType | None = None) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array(values, kind)], names=["x"])


def fitted(values: list[object], source: pa.DataType, target: str) -> list[object]:
    schema = schema_from_mapping({"x": target})
    batch = conform(batch_of(values, source), schema)
    batch.validate(full=True)
    assert batch.schema.equals(schema)
    return list(batch.column(0).to_pylist())


@given(batches())
def test_a_batch_that_fits_is_given_back_itself(batch: pa.RecordBatch) -> None:
    assert conform(batch, batch.schema) is batch


@given(batches())
def test_columns_are_put_in_order(batch: pa.RecordBatch) -> None:
    reversed_schema = pa.schema(list(batch.schema)[::-1])
    turned = conform(batch, reversed_schema)
    assert turned.equals(batch.select(reversed_schema.names))


@pytest.mark.parametrize(
    ("values", "source", "target"),
    [
        ([1, None, 127], pa.int64(), "int8"),
        ([2**64 - 1], pa.uint64(), "uint64"),
        ([1, 2**53], pa.int64(), "float64"),
        ([0.5, None], pa.float64(), "float32"),
        ([0.1], pa.float32(), "float64"),
        (["a", None], pa.large_string(), "string"),
        (["a", "b", "a"], pa.dictionary(pa.int8(), pa.string()), "string"),
        ([None, None], pa.null(), "string"),
        ([[1.5], [2.5]], pa.list_(pa.float64()), "list<float32>[1]"),
        ([[1, 2]], pa.list_(pa.int64(), 2), "list<float32>"),
        ([[[1], [2]]], pa.list_(pa.list_(pa.int64())), "list<list<int32>[1]>[2]"),
        ([{"a": 1}], pa.struct([("a", pa.int64())]), "struct<a: int8>"),
        ([[1.5]], pa.list_(pa.float32()), "list<float32 not null>"),
        ([True], pa.bool_(), "bool"),
    ],
)
def test_a_cast_that_changes_no_value_is_made(
    values: list[object], source: pa.DataType, target: str
) -> None:
    expected = pa.array(values, source).to_pylist()
    assert fitted(values, source, target) == expected


def test_units_of_time_are_cast_when_nothing_is_lost() -> None:
    batch = conform(
        batch_of([1_000_000], pa.timestamp("us")), schema_from_mapping({"x": "timestamp[s]"})
    )
    assert batch.column(0).cast(pa.int64()).to_pylist() == [1]


@pytest.mark.parametrize(
    ("values", "source", "target"),
    [
        ([128], pa.int64(), "int8"),
        ([-1], pa.int64(), "uint64"),
        ([2**53 + 1], pa.int64(), "float64"),
        ([0.1], pa.float64(), "float32"),
        ([1e300], pa.float64(), "float32"),
        ([[0.1]], pa.list_(pa.float64()), "list<float32>"),
        ([{"a": 0.1}], pa.struct([("a", pa.float64())]), "struct<a: float32>"),
        ([1.0], pa.float64(), "int64"),
        ([True], pa.bool_(), "int8"),
        ([1], pa.int64(), "bool"),
        (["1"], pa.string(), "int64"),
        ([1], pa.int64(), "string"),
        ([b"a"], pa.binary(), "string"),
        ([1], pa.int64(), "timestamp[ms]"),
        ([1], pa.timestamp("ms"), "timestamp[s]"),
        ([1], pa.timestamp("ms"), "timestamp[ms, UTC]"),
        ([[1.0]], pa.list_(pa.float32()), "float32"),
        ([1.0], pa.float32(), "list<float32>"),
        ([[None]], pa.list_(pa.float32()), "list<float32 not null>"),
        ([[None]], pa.list_(pa.float32()), "list<float32 not null>[1]"),
        ([{"a": None}], pa.struct([("a", pa.int8())]), "struct<a: int8 not null>"),
        ([{"b": 1}], pa.struct([("b", pa.int8())]), "struct<a: int8>"),
        (["a", None], pa.string(), "string not null"),
        ([None], pa.null(), "string not null"),
    ],
)
def test_a_cast_that_would_change_a_value_is_refused(
    values: list[object], source: pa.DataType, target: str
) -> None:
    with pytest.raises(ColumnTypeMismatchError) as caught:
        fitted(values, source, target)
    assert caught.value.facts["column"] == "x"
    assert caught.value.facts["expected"] == target


def test_the_message_names_column_expected_and_got() -> None:
    with pytest.raises(ColumnTypeMismatchError) as caught:
        fitted(["a"], pa.string(), "list<float32>[29]")
    assert str(caught.value) == (
        "column 'x' has the wrong type: expected list<float32>[29], got string"
    )


def test_a_list_of_another_length_is_refused() -> None:
    for source in (pa.list_(pa.float32()), pa.list_(pa.float32(), 2)):
        with pytest.raises(ColumnLengthMismatchError) as caught:
            fitted([[1.0, 2.0]], source, "list<float32>[3]")
        assert caught.value.facts == {"column": "x", "expected": 3, "got": 2}


def test_missing_unexpected_and_repeated_columns_are_named() -> None:
    schema = schema_from_mapping({"a": "int64", "b": "int64"})
    one = pa.array([1])
    with pytest.raises(ColumnMissingError) as missing:
        conform(pa.RecordBatch.from_arrays([one, one], names=["a", "c"]), schema)
    assert missing.value.facts == {"column": "b", "got": ["a", "c"]}
    for names in (["a", "b", "c"], ["a", "b", "a"]):
        with pytest.raises(ColumnUnexpectedError) as unexpected:
            conform(pa.RecordBatch.from_arrays([one, one, one], names=names), schema)
        assert unexpected.value.facts == {"column": names[2], "expected": ["a", "b"]}


def test_an_empty_batch_is_cast_too() -> None:
    assert fitted([], pa.list_(pa.float64()), "list<float32>[29]") == []
    assert fitted([], pa.null(), "string") == []


def test_a_tensor_column_fits_its_storage() -> None:
    tensor = pa.FixedShapeTensorArray.from_numpy_ndarray(
        pa.array([1.0, 2.0, 3.0, 4.0], pa.float32()).to_numpy().reshape(2, 2)
    )
    batch = pa.RecordBatch.from_arrays([tensor], names=["x"])
    assert conform(batch, schema_from_mapping({"x": "list<float32>[2]"})).to_pylist() == [
        {"x": [1.0, 2.0]},
        {"x": [3.0, 4.0]},
    ]
