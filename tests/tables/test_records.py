import contextlib
import json
import sys

import numpy as np
import orjson
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from byop.errors import (
    ColumnLengthMismatchError,
    ColumnMissingError,
    ColumnTypeMismatchError,
    ColumnUnexpectedError,
    InvalidInputError,
    InvalidPayloadError,
)
from byop.tables.records import decode_records, encode_records
from byop.tables.schemas import schema_from_mapping
from tests.tables.arrow_strategies import batches

TEXT = schema_from_mapping({"text": "string"})


def decode(records: object, **columns: str) -> pa.RecordBatch:
    return decode_records(json.dumps(records).encode(), schema_from_mapping(columns))


def values_of(records: object, kind: str) -> list[object]:
    return list(decode(records, x=kind).column(0).to_pylist())


@given(batches())
def test_json_gives_back_every_value_of_every_type(batch: pa.RecordBatch) -> None:
    decoded = decode_records(encode_records(batch), batch.schema)
    assert decoded.equals(batch)
    decoded.validate(full=True)


@given(batches())
def test_encoded_records_are_valid_json_with_the_columns_in_order(batch: pa.RecordBatch) -> None:
    records = json.loads(encode_records(batch))
    assert len(records) == batch.num_rows
    assert all(list(record) == batch.schema.names for record in records)


def test_float32_is_written_in_its_own_shortest_digits() -> None:
    values = pa.array([0.0014974177, 0.1, 1.0678325], pa.float32())
    lists = pa.FixedSizeListArray.from_arrays(values, 1)
    ragged = pa.array([[0.1], [], [0.2, 0.3]], pa.list_(pa.float32()))
    batch = pa.RecordBatch.from_arrays([values, lists, ragged], names=["x", "y", "z"])
    assert encode_records(batch) == (
        b'[{"x":0.0014974177,"y":[0.0014974177],"z":[0.1]},{"x":0.1,"y":[0.1],"z":[]},'
        b'{"x":1.0678325,"y":[1.0678325],"z":[0.2,0.3]}]'
    )


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1))
def test_float32_survives_json_bit_for_bit(numbers: list[float]) -> None:
    batch = pa.RecordBatch.from_arrays([pa.array(numbers, pa.float32())], names=["x"])
    again = decode_records(encode_records(batch), batch.schema)
    assert again.column(0).buffers()[1].to_pybytes() == np.array(numbers, np.float32).tobytes()


def test_nan_and_infinities_are_written_as_null() -> None:
    values = [1.5, float("nan"), float("inf"), float("-inf"), None]
    flat = pa.array(values, pa.float64())
    lists = pa.array([values] * 5, pa.list_(pa.float32()))
    batch = pa.RecordBatch.from_arrays([flat, lists], names=["x", "y"])
    records = json.loads(encode_records(batch))
    assert [record["x"] for record in records] == [1.5, None, None, None, None]
    assert records[0]["y"] == [1.5, None, None, None, None]


def test_integers_above_2_to_53_stay_exact() -> None:
    assert values_of([{"x": 2**53 + 1}, {"x": -(2**63)}], "int64") == [2**53 + 1, -(2**63)]
    assert values_of([{"x": 2**64 - 1}], "uint64") == [2**64 - 1]
    assert values_of([{"x": [2**53 + 1, None]}], "list<int64>") == [[2**53 + 1, None]]


def test_integers_fit_a_float_column() -> None:
    assert values_of([{"x": 3}, {"x": 2**24 + 1}], "float32") == [3.0, 2.0**24]
    assert values_of([{"x": [1, 2.5]}], "list<float64>") == [[1.0, 2.5]]


@pytest.mark.parametrize(
    ("value", "kind", "got"),
    [
        (1.5, "int64", "float"),
        (1.0, "int64", "float"),
        (True, "int64", "bool"),
        (True, "float32", "bool"),
        (False, "uint8", "bool"),
        ([0.5, True], "list<float32>", "bool"),
        ([[1, 2], [3, False]], "list<list<int32>>", "bool"),
        ("1", "float64", "string"),
        ([1.0, "2"], "list<float32>", "string"),
        ([1.5, 2.5], "list<int64>", "float"),
        ({"a": 1}, "int64", "object"),
        (128, "int8", "128, out of range"),
        (-1, "uint64", "-1, out of range"),
        (2**63, "int64", "9223372036854775808, out of range"),
        (2**64, "uint64", "float"),
        (1e39, "float32", "1e+39, out of range"),
        ([1e39], "list<float32>[1]", "1e+39, out of range"),
        (1, "string", "int"),
        (True, "string", "bool"),
        ({"a": "b"}, "string", "object"),
        (1, "bool", "int"),
        ("true", "bool", "string"),
        (1.0, "list<float32>", "float"),
        ("ab", "list<string>", "string"),
        ([1], "list<string>", "int"),
        ([None], "list<float32 not null>", "null in a list"),
        ({"b": 1}, "struct<a: int64>", "an object with 'b'"),
        (1, "struct<a: int64>", "int"),
        (1, "list<int64>", "int"),
        (1.5, "timestamp[ms]", "float"),
        (True, "timestamp[ms]", "bool"),
        (20000, "date32", "int"),
        ("?", "binary", "text that is no base64"),
    ],
)
def test_a_value_of_another_type_is_refused(value: object, kind: str, got: str) -> None:
    with pytest.raises(ColumnTypeMismatchError) as caught:
        decode([{"x": value}], x=kind)
    assert caught.value.facts["column"] == "x"
    assert caught.value.facts["expected"] == kind
    assert caught.value.facts["got"] == got


def test_a_null_is_kept_unless_the_column_takes_none() -> None:
    for kind in ("int64", "float32", "string", "bool", "timestamp[ms]", "list<float32>[2]"):
        assert values_of([{"x": None}], kind) == [None]
        with pytest.raises(ColumnTypeMismatchError) as caught:
            decode([{"x": None}], x=f"{kind} not null")
        assert caught.value.facts["expected"] == f"{kind} not null"


def test_zeros_and_ones_are_numbers() -> None:
    assert values_of([{"x": [0, 1]}, {"x": [0.0, 1.0]}], "list<float32>") == [[0, 1], [0, 1]]
    assert values_of([{"x": 0}, {"x": 1}, {"x": None}], "int8") == [0, 1, None]


def test_a_list_of_another_length_is_refused() -> None:
    with pytest.raises(ColumnLengthMismatchError) as caught:
        decode([{"x": [1.0, 2.0]}, {"x": [1.0]}], x="list<float32>[2]")
    assert caught.value.facts == {"column": "x", "expected": 2, "got": 1}


def test_timestamps_are_iso_8601_or_milliseconds() -> None:
    assert decode([{"x": "2023-03-20T18:55:09.562"}], x="timestamp[ms]").column(0).cast(
        pa.int64()
    ).to_pylist() == [1679338509562]
    with_zone = decode(
        [{"x": "2023-03-20T20:55:09.562+02:00"}, {"x": None}], x="timestamp[us, UTC]"
    )
    assert with_zone.column(0).cast(pa.int64()).to_pylist() == [1679338509562000, None]
    assert decode([{"x": 1679338509562}], x="timestamp[ns]").column(0).cast(
        pa.int64()
    ).to_pylist() == [1679338509562000000]
    assert encode_records(with_zone) == b'[{"x":"2023-03-20T18:55:09.562000Z"},{"x":null}]'


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("2023-03-20T18:55:09.562", "timestamp[s]"),
        (1500, "timestamp[s]"),
        ("2023-03-20T18:55:09Z", "timestamp[ms]"),
        ("2023-03-20T18:55:09", "timestamp[ms, UTC]"),
        ("yesterday", "timestamp[ms]"),
    ],
)
def test_a_time_that_does_not_fit_the_unit_or_zone_is_refused(value: object, kind: str) -> None:
    with pytest.raises(ColumnTypeMismatchError):
        decode([{"x": value}], x=kind)


def test_a_missing_column_is_named() -> None:
    with pytest.raises(ColumnMissingError) as caught:
        decode([{"a": 1, "b": 2}, {"a": 1}], a="int64", b="int64")
    assert caught.value.facts == {"column": "b", "got": ["a"]}


def test_an_unexpected_column_is_named() -> None:
    with pytest.raises(ColumnUnexpectedError) as caught:
        decode([{"a": 1}, {"a": 1, "b": 2}], a="int64")
    assert caught.value.facts == {"column": "b", "expected": ["a"]}


def test_columns_come_in_the_order_of_the_schema() -> None:
    batch = decode([{"b": 1, "a": "x"}], a="string", b="int64")
    assert batch.schema.names == ["a", "b"]
    assert batch.to_pylist() == [{"a": "x", "b": 1}]


def test_a_record_with_lists_in_scalar_columns_is_several_rows() -> None:
    prompts = ["What happened to the Serge llama?", "How are you doing?"]
    assert decode([{"text": prompts}], text="string").to_pydict() == {"text": prompts}
    mixed = decode([{"text": "a"}, {"text": ["b", "c"]}, {"text": []}], text="string")
    assert mixed.to_pydict() == {"text": ["a", "b", "c"]}
    wide = decode(
        [{"text": ["a", "b"], "n": [1, 2], "x": [[1, 2], [3, 4]]}],
        text="string",
        n="int64",
        x="list<float32>[2]",
    )
    assert wide.to_pydict() == {"text": ["a", "b"], "n": [1, 2], "x": [[1, 2], [3, 4]]}


def test_expanded_columns_must_be_equally_long() -> None:
    with pytest.raises(ColumnLengthMismatchError) as caught:
        decode([{"text": ["a", "b"], "n": [1]}], text="string", n="int64")
    assert caught.value.facts == {"column": "n", "expected": 2, "got": 1}
    with pytest.raises(ColumnTypeMismatchError, match="a list of int64"):
        decode([{"text": ["a", "b"], "n": 1}], text="string", n="int64")


def test_an_object_of_columns_is_read_too() -> None:
    assert decode({"text": ["a", "b"]}, text="string").to_pydict() == {"text": ["a", "b"]}
    assert decode_records(b'{"x": [[1], [2]]}', None).to_pydict() == {"x": [[1], [2]]}
    with pytest.raises(ColumnLengthMismatchError):
        decode({"a": [1, 2], "b": [1]}, a="int64", b="int64")
    with pytest.raises(ColumnTypeMismatchError):
        decode({"text": "a"}, text="string")
    with pytest.raises(ColumnMissingError):
        decode({"prompt": ["a"]}, text="string")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"NaN",
        b'[{"text": NaN}]',
        b'[{"text": "a"}] []',
        b'[{"text": "\xff"}]',
        b'[{"text": "\\ud800"}]',
        b"[" * 100_000,
        b"1",
        b'"text"',
        b"null",
        b"[1]",
        b'["text"]',
        b"[[1]]",
        b"[null]",
        b'[{"text": "a"}, 1]',
    ],
)
def test_what_is_no_json_or_no_records_is_refused(body: bytes) -> None:
    for schema in (TEXT, None):
        with pytest.raises(InvalidPayloadError):
            decode_records(body, schema)


def test_no_records_give_no_rows() -> None:
    batch = decode_records(b"[]", TEXT)
    assert batch.schema.equals(TEXT)
    assert batch.num_rows == 0
    assert encode_records(batch) == b"[]"
    assert decode_records(b"[]", None).num_columns == 0


def test_types_are_inferred_without_a_schema() -> None:
    batch = decode_records(
        b'[{"t":"a","i":1,"f":1.5,"b":true,"l":[1,2.5],"u":18446744073709551615},'
        b'{"t":null,"i":2,"f":2,"b":false,"l":[],"u":0}]',
        None,
    )
    assert batch.schema.equals(
        schema_from_mapping(
            {
                "t": "string",
                "i": "int64",
                "f": "float64",
                "b": "bool",
                "l": "list<float64>",
                "u": "uint64",
            }
        )
    )


def test_inference_of_mixed_values_is_refused() -> None:
    with pytest.raises(ColumnTypeMismatchError, match="values of one type"):
        decode_records(b'[{"x":1},{"x":"a"}]', None)
    with pytest.raises(ColumnMissingError):
        decode_records(b'[{"x":1},{"y":1}]', None)
    with pytest.raises(ColumnUnexpectedError):
        decode_records(b'[{"x":1},{"x":1,"y":1}]', None)


def test_a_million_rows_survive() -> None:
    numbers = np.arange(1_000_000, dtype=np.int64) + 2**53
    batch = pa.RecordBatch.from_arrays([pa.array(numbers)], names=["x"])
    assert decode_records(encode_records(batch), batch.schema).equals(batch)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(JSON, st.sampled_from(["int8", "float32", "string", "bool", "list<list<int64>[2]>"]))
def test_any_json_value_fits_or_is_a_typed_error(value: object, kind: str) -> None:
    try:
        body = orjson.dumps([{"x": value}])
    except TypeError:  # a lone surrogate: no JSON
        return
    schema = schema_from_mapping({"x": kind})
    for given_schema in (schema, None):
        with contextlib.suppress(InvalidInputError):
            decode_records(body, given_schema).validate(full=True)


def test_recursion_stays_within_the_limit_of_python() -> None:
    depth = 60
    body = b'[{"x":' + b"[" * depth + b"1" + b"]" * depth + b"}]"
    kind = "list<" * depth + "int64" + ">" * depth
    assert sys.getrecursionlimit() >= 1000
    batch = decode_records(body, schema_from_mapping({"x": kind}))
    assert encode_records(batch) == body
