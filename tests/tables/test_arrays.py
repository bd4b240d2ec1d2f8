import math
import subprocess
import sys
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from byop.errors import (
    ColumnLengthMismatchError,
    ColumnMissingError,
    ColumnTypeMismatchError,
    ColumnUnexpectedError,
)
from byop.tables.arrays import from_arrays, to_arrays
from byop.tables.ndarrays import Array
from byop.tables.schemas import schema_from_mapping
from tests.tables.arrow_strategies import batches


def array_of(values: list[Any], kind: pa.DataType) -> Array:
    return to_arrays(pa.RecordBatch.from_arrays([pa.array(values, kind)], names=["x"]))["x"]


def column_of(values: object, kind: str | None) -> pa.Array:
    schema = None if kind is None else schema_from_mapping({"x": kind})
    return from_arrays({"x": values}, schema).column(0)  # type: ignore[dict-item]  # wrong on purpose


@given(batches(nulls=False))
def test_numpy_gives_back_every_value_of_every_type(batch: pa.RecordBatch) -> None:
    again = from_arrays(to_arrays(batch), batch.schema, rows=batch.num_rows)
    again.validate(full=True)
    assert again.equals(batch)


@given(batches())
def test_nulls_come_back_as_null_or_nan(batch: pa.RecordBatch) -> None:
    again = from_arrays(to_arrays(batch), batch.schema)
    again.validate(full=True)
    assert nulls_as_nan(again.to_pylist()) == nulls_as_nan(batch.to_pylist())


def nulls_as_nan(value: object) -> object:
    if isinstance(value, list):
        return [nulls_as_nan(item) for item in value]
    if isinstance(value, dict):
        return {name: nulls_as_nan(item) for name, item in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value


@given(batches())
def test_every_array_has_as_many_rows_as_the_batch(batch: pa.RecordBatch) -> None:
    assert {len(array) for array in to_arrays(batch).values()} == {batch.num_rows}


@pytest.mark.parametrize("name", ["int8", "int64", "uint64", "float16", "float32", "float64"])
def test_numbers_are_views_both_ways(name: str) -> None:
    batch = pa.RecordBatch.from_arrays([pa.array(np.arange(8, dtype=name)).slice(2)], names=["x"])
    address = batch.column(0).buffers()[1].address
    array = to_arrays(batch)["x"]
    assert array.dtype == name
    assert array.ctypes.data == address + 2 * array.itemsize
    again = from_arrays({"x": array}, schema_from_mapping({"x": name}))
    assert again.column(0).buffers()[1].address == array.ctypes.data


def test_equal_lists_are_one_stacked_view() -> None:
    kind = pa.list_(pa.list_(pa.float32(), 2))
    column = pa.array([[[1, 2]], [[3, 4]], [[5, 6]]], kind)
    array = to_arrays(pa.RecordBatch.from_arrays([column.slice(1)], names=["x"]))["x"]
    assert array.dtype == np.float32
    assert array.tolist() == [[[3.0, 4.0]], [[5.0, 6.0]]]
    assert array.ctypes.data == column.values.values.buffers()[1].address + 2 * 4
    again = from_arrays({"x": array}, pa.schema([("x", kind)])).column(0)
    assert again.values.values.buffers()[1].address == array.ctypes.data


def test_ragged_lists_are_an_object_array_of_arrays() -> None:
    array = array_of([[1.0, 2.0], [], None], pa.list_(pa.float32()))
    assert array.dtype == object
    assert array.shape == (3,)
    assert [None if row is None else row.tolist() for row in array] == [[1.0, 2.0], [], None]
    assert array[0].dtype == np.float32
    nested = array_of([[[1, 2]], [[3], [4, 5]]], pa.list_(pa.list_(pa.int64())))
    assert nested[0].tolist() == [[1, 2]]
    assert [row.tolist() for row in nested[1]] == [[3], [4, 5]]


def test_nulls_are_nan_in_floats_and_none_elsewhere() -> None:
    floats = array_of([1.5, None], pa.float32())
    assert floats.dtype == np.float32
    assert np.isnan(floats[1])
    stacked = array_of([[1.5, None], [2.5, 3.5]], pa.list_(pa.float64()))
    assert stacked.shape == (2, 2)
    assert np.isnan(stacked[0, 1])
    assert array_of([2**53 + 1, None], pa.int64()).tolist() == [2**53 + 1, None]
    assert array_of([True, None], pa.bool_()).tolist() == [True, None]
    assert array_of(["a", None], pa.string()).tolist() == ["a", None]
    assert np.isnat(array_of([1, None], pa.timestamp("ms"))[1])


def test_times_and_text_have_their_dtypes() -> None:
    assert array_of([1], pa.timestamp("us", "UTC")).dtype == "M8[us]"
    assert array_of([1], pa.date32()).dtype == "M8[D]"
    assert array_of(["a"], pa.large_string()).dtype == object
    assert array_of(["a", "b"], pa.dictionary(pa.int8(), pa.string())).tolist() == ["a", "b"]
    assert array_of([{"a": 1}], pa.struct([("a", pa.int64())])).tolist() == [{"a": 1}]


def test_a_tensor_column_is_one_array() -> None:
    values = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    batch = pa.RecordBatch.from_arrays(
        [pa.FixedShapeTensorArray.from_numpy_ndarray(values)], names=["x"]
    )
    assert np.array_equal(to_arrays(batch)["x"], values)


def test_an_empty_batch_keeps_dtypes_and_fixed_widths() -> None:
    kinds = {"n": "int32", "t": "string", "x": "list<float32>[29]", "r": "list<float64>"}
    schema = schema_from_mapping(kinds)
    empty = pa.RecordBatch.from_arrays([pa.nulls(0, f.type) for f in schema], schema=schema)
    arrays = to_arrays(empty)
    assert {name: array.shape for name, array in arrays.items()} == {
        "n": (0,),
        "t": (0,),
        "x": (0, 29),
        "r": (0, 0),
    }
    assert arrays["x"].dtype == np.float32
    assert from_arrays(arrays, schema, rows=0).equals(empty)


def test_types_are_inferred_without_a_schema() -> None:
    batch = from_arrays(
        {
            "f": np.zeros((2, 1), np.float32),
            "i": np.array([1, 2]),
            "b": np.array([True, False]),
            "u": np.array(["a", "b"]),
            "o": np.array(["a", None], object),
            "t": np.array([1, 2], "M8[ms]"),
            "d": np.array([1, 2], "M8[D]"),
        },
        None,
    )
    assert batch.schema.equals(
        schema_from_mapping(
            {
                "f": "list<float32>",
                "i": "int64",
                "b": "bool",
                "u": "string",
                "o": "string",
                "t": "timestamp[ms]",
                "d": "date32",
            }
        )
    )
    assert batch.column(4).to_pylist() == ["a", None]


def test_numbers_are_fitted_to_the_declared_type() -> None:
    assert column_of(np.array([0.1]), "float32").to_pylist() == [float(np.float32(0.1))]
    assert column_of(np.array([1, 2]), "float64").to_pylist() == [1.0, 2.0]
    assert column_of(np.array([1.0, -2.0]), "int8").to_pylist() == [1, -2]
    assert column_of(np.array([1, 255]), "uint8").to_pylist() == [1, 255]
    assert column_of(np.array([1, 2], ">i4"), "int32").to_pylist() == [1, 2]
    assert column_of(np.arange(6)[::2], "int64").to_pylist() == [0, 2, 4]
    assert column_of(np.array([1.5, np.nan]), "float32").null_count == 0


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (np.array([1.5]), "int64"),
        (np.array([np.nan]), "int64"),
        (np.array([2.0**63]), "int64"),
        (np.array([-1]), "uint8"),
        (np.array([256]), "uint8"),
        (np.array([1e39]), "float32"),
        (np.array([True]), "int64"),
        (np.array([1]), "bool"),
        (np.array([1]), "string"),
        (np.array(["1"]), "int64"),
        (np.array(["1", 2], object), "string"),
        (np.array([1.5], object), "int64"),
        (np.array([True], object), "int64"),
        (np.array([np.True_], object), "float32"),
        (np.zeros((2, 1)), "float64"),
        (np.zeros(2), "list<float64>"),
        (np.zeros((2, 2, 2)), "list<float64>"),
        (np.array(3.0), "float64"),
        ([1.0], "float64"),
        (None, "float64"),
        (np.array([["a"]]), "string"),
        (np.array([1], "M8[ms]"), "timestamp[s]"),
        (np.array([2**62], "M8[s]"), "timestamp[ns]"),
        (np.array([1], "M8[ms]"), "int64"),
        (np.array([1j]), "float64"),
        (np.array(["a", None], object), "string not null"),
    ],
)
def test_an_array_that_does_not_fit_is_refused(values: object, kind: str) -> None:
    with pytest.raises(ColumnTypeMismatchError) as caught:
        column_of(values, kind)
    assert caught.value.facts["column"] == "x"
    assert caught.value.facts["expected"] == kind


def test_the_message_tells_dtype_and_shape() -> None:
    with pytest.raises(ColumnTypeMismatchError, match=r"expected float32, got an array of float64"):
        column_of(np.zeros((3, 1)), "float32")


def test_lists_of_another_length_are_refused() -> None:
    with pytest.raises(ColumnLengthMismatchError) as caught:
        column_of(np.zeros((2, 3)), "list<float64>[2]")
    assert caught.value.facts == {"column": "x", "expected": 2, "got": 3}


def test_columns_of_another_length_are_refused() -> None:
    arrays = {"a": np.zeros(2), "b": np.zeros(3)}
    with pytest.raises(ColumnLengthMismatchError) as caught:
        from_arrays(arrays, None)
    assert caught.value.facts == {"column": "b", "expected": 2, "got": 3}
    with pytest.raises(ColumnLengthMismatchError) as caught:
        from_arrays(arrays, None, rows=3)
    assert caught.value.facts == {"column": "a", "expected": 3, "got": 2}


def test_other_names_than_the_schema_are_refused() -> None:
    schema = schema_from_mapping({"a": "float64"})
    with pytest.raises(ColumnMissingError):
        from_arrays({"b": np.zeros(1)}, schema)
    with pytest.raises(ColumnUnexpectedError):
        from_arrays({"a": np.zeros(1), "b": np.zeros(1)}, schema)


def test_ragged_outputs_become_lists() -> None:
    ragged = np.empty(3, object)
    ragged[0], ragged[1], ragged[2] = np.zeros(2), np.ones(1), np.zeros(0)
    assert column_of(ragged, "list<float32>").to_pylist() == [[0.0, 0.0], [1.0], []]
    ragged[2] = None
    assert column_of(ragged, "list<float32>").to_pylist() == [[0.0, 0.0], [1.0], None]
    ragged[2] = [1, 2]
    assert column_of(ragged, "list<float32>").to_pylist() == [[0.0, 0.0], [1.0], [1.0, 2.0]]


@given(st.lists(st.integers(-(2**63), 2**63 - 1) | st.none(), max_size=20))
def test_int64_stays_exact_beside_nulls(values: list[int | None]) -> None:
    column = pa.array(values, pa.int64())
    batch = pa.RecordBatch.from_arrays([column], names=["x"])
    assert from_arrays(to_arrays(batch), batch.schema).equals(batch)


def test_nanoseconds_in_ragged_lists_stay_nanoseconds() -> None:
    kind = pa.list_(pa.timestamp("ns"))
    column = pa.array([[], [1], [2, None]], kind)
    batch = pa.RecordBatch.from_arrays([column], names=["x"])
    assert from_arrays(to_arrays(batch), batch.schema).equals(batch)


def test_workers_load_numpy_and_pyarrow_only() -> None:
    script = (
        "import sys, byop.tables.arrays, byop.tables.columns, byop.tables.ipc\n"
        "print(*sorted({name.split('.')[0] for name in sys.modules}))"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(ran.stdout.split())
    assert {"numpy", "pyarrow"} <= loaded
    assert not loaded & {"orjson", "pandas", "typing_extensions", "pydantic", "requests"}
