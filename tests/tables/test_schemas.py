import base64
import contextlib

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from byop.errors import InvalidSchemaError
from byop.tables.schemas import (
    format_type,
    parse_type,
    schema_from_base64,
    schema_from_mapping,
    schema_to_base64,
)
from tests.tables.arrow_strategies import batches, types


def nested(levels: int) -> pa.DataType:
    kind = pa.int8()
    for _ in range(levels):
        kind = pa.list_(kind)
    return kind


@given(batches())
def test_base64_gives_back_the_schema(batch: pa.RecordBatch) -> None:
    assert schema_from_base64(schema_to_base64(batch.schema)).equals(batch.schema)


def test_base64_is_what_the_documents_send() -> None:
    schema = pa.schema([pa.field("text", pa.string())])
    text = base64.b64encode(bytes(schema.serialize())).decode("utf8")
    assert schema_to_base64(schema) == text
    assert schema_from_base64(text + "\n").equals(schema)


def test_metadata_of_a_schema_is_dropped() -> None:
    schema = pa.schema([("text", pa.string())], metadata={"pandas": "{}"})
    assert schema_from_base64(schema_to_base64(schema)).metadata is None


@pytest.mark.parametrize("text", ["", "?", "YQ==", "é", "YWJjZGVmZ2hpamtsbW5vcA=="])
def test_what_is_no_schema_is_refused(text: str) -> None:
    with pytest.raises(InvalidSchemaError, match="not an Arrow schema in base64"):
        schema_from_base64(text)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_schema_or_a_typed_error(data: bytes) -> None:
    with contextlib.suppress(InvalidSchemaError):
        schema_from_base64(base64.b64encode(data).decode())


def test_a_column_declared_twice_is_refused() -> None:
    schema = pa.schema([("a", pa.int8()), ("a", pa.int8())])
    with pytest.raises(InvalidSchemaError, match="'a' is declared twice"):
        schema_from_base64(schema_to_base64(schema))


def test_nesting_over_64_levels_is_refused_before_arrow_sees_it() -> None:
    assert schema_from_base64(schema_to_base64(pa.schema([("x", nested(60))])))
    with pytest.raises(InvalidSchemaError, match="deeper than 64"):
        schema_to_base64(pa.schema([("x", nested(65))]))
    with pytest.raises(InvalidSchemaError, match="deeper than 64"):
        schema_from_base64(base64.b64encode(pa.schema([("x", nested(65))]).serialize()).decode())
    with pytest.raises(InvalidSchemaError, match="deeper than 64"):
        parse_type("list<" * 50_000)


@given(types())
def test_the_name_of_a_type_is_read_back(kind: pa.DataType) -> None:
    assert parse_type(format_type(kind)) == kind


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("string", pa.string()),
        (" int64 ", pa.int64()),
        ("bool", pa.bool_()),
        ("double", pa.float64()),
        ("list<float32>", pa.list_(pa.float32())),
        ("list<float32>[29]", pa.list_(pa.float32(), 29)),
        ("list<list<int8>[2]>[3]", pa.list_(pa.list_(pa.int8(), 2), 3)),
        ("list<item: float>", pa.list_(pa.float32())),
        ("fixed_size_list<item: float>[29]", pa.list_(pa.float32(), 29)),
        (
            "list<float32 not null>",
            pa.list_(pa.field("item", pa.float32(), nullable=False)),
        ),
        ("timestamp[ms]", pa.timestamp("ms")),
        ("timestamp[us, Europe/Berlin]", pa.timestamp("us", "Europe/Berlin")),
        ("timestamp[ns, tz=+01:00]", pa.timestamp("ns", "+01:00")),
        ("date32[day]", pa.date32()),
        (
            'struct<a: int64, "b c": list<string>>',
            pa.struct([("a", pa.int64()), ("b c", pa.list_(pa.string()))]),
        ),
        ("struct<>", pa.struct([])),
    ],
)
def test_a_type_is_read(text: str, kind: pa.DataType) -> None:
    assert parse_type(text) == kind


@pytest.mark.parametrize(
    "text",
    [
        "",
        "text",
        "int",
        "list",
        "list<",
        "list<int8",
        "list<int8>[",
        "list<int8>[x]",
        "list<int8>[99999999999]",
        "int8 int8",
        "int8]",
        "timestamp",
        "timestamp[m]",
        "timestamp[ms,]",
        "struct<a>",
        "struct<a: int8 b: int8>",
        "int8 not",
        "list<int8 not>",
        "$",
    ],
)
def test_what_names_no_type_is_refused(text: str) -> None:
    with pytest.raises(InvalidSchemaError, match="is no type"):
        parse_type(text)


def test_a_mapping_gives_columns_in_order_and_nullable_unless_said() -> None:
    schema = schema_from_mapping({"b": "string", "a": "list<float32>[2] not null"})
    assert schema.equals(
        pa.schema(
            [
                pa.field("b", pa.string()),
                pa.field("a", pa.list_(pa.float32(), 2), nullable=False),
            ]
        )
    )
