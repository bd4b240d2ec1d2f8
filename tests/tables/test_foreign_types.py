from collections.abc import Sequence

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from byop.errors import InvalidPayloadError, TooLargeError
from byop.tables.foreign_types import made_plain, stands_for_more
from tests.tables.arrow_strategies import batches

TEXTS = st.lists(st.none() | st.text(st.characters(codec="utf-8"), max_size=20), min_size=1)
FORMS = st.sampled_from(
    [
        pa.dictionary(pa.int32(), pa.string()),
        pa.dictionary(pa.uint8(), pa.large_string()),
        pa.string_view(),
    ]
)


def batch_of(column: pa.Array) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([column], ["x"])


def stands_for(column: pa.Array) -> bool:
    return stands_for_more(batch_of(column).schema, max_columns=100)


@given(batches())
def test_types_that_byop_carries_are_left_alone(batch: pa.RecordBatch) -> None:
    strange = stands_for_more(batch.schema, max_columns=1000)
    assert not strange or any("struct<>" in str(kind) for kind in batch.schema.types)


@given(TEXTS, FORMS, st.integers(0, 3))
def test_texts_stay_what_they_are(
    texts: Sequence[str | None], form: pa.DataType, before: int
) -> None:
    column = pa.array([*["cut"] * before, *texts]).cast(form).slice(before)
    assert stands_for(column)
    plain = made_plain(batch_of(column), max_bytes=1 << 20).column(0)
    assert plain.to_pylist() == list(texts)
    assert plain.type in (pa.string(), pa.large_string())


def test_what_dictionaries_and_views_stand_for_is_counted() -> None:
    long = pa.array(["x" * 1000] * 100)
    for column in (long.dictionary_encode(), long.cast(pa.string_view())):
        made_plain(batch_of(column), max_bytes=100_100)
        with pytest.raises(TooLargeError):
            made_plain(batch_of(column), max_bytes=99_999)


def test_a_dictionary_of_numbers_is_counted_by_their_width() -> None:
    column = pa.array([1.5] * 100).dictionary_encode()
    assert made_plain(batch_of(column), max_bytes=800).column(0).to_pylist() == [1.5] * 100
    with pytest.raises(TooLargeError):
        made_plain(batch_of(column), max_bytes=799)


def test_rows_without_bytes_are_counted() -> None:
    for kind in (pa.null(), pa.binary(0), pa.struct([]), pa.list_(pa.null())):
        column = pa.nulls(100, kind)
        assert stands_for(column)
        with pytest.raises(TooLargeError):
            made_plain(batch_of(column), max_bytes=99)


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.dictionary(pa.int8(), pa.string())),
        pa.dictionary(pa.int8(), pa.list_(pa.string())),
        pa.run_end_encoded(pa.int32(), pa.string()),
        pa.dense_union([pa.field("a", pa.string())]),
        pa.list_view(pa.string()),
        pa.month_day_nano_interval(),
    ],
    ids=str,
)
def test_types_that_are_not_read_are_named(kind: pa.DataType) -> None:
    with pytest.raises(InvalidPayloadError, match=r"column 'x' holds .*send plain values"):
        stands_for_more(pa.schema([("x", kind)]), max_columns=100)


def test_width_counts_at_every_depth() -> None:
    fields = [(f"f{n}", pa.int8()) for n in range(101)]
    for schema in (pa.schema(fields), pa.schema([("x", pa.list_(pa.struct(fields)))])):
        with pytest.raises(InvalidPayloadError, match="more than 100"):
            stands_for_more(schema, max_columns=100)
