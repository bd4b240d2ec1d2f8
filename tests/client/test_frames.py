import json
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest

from byop.client.frames import decode_frame, encode_frame
from byop.errors import ApiError, InvalidPayloadError

BIG = 2**53 + 1


def sent(frame: pd.DataFrame) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = json.loads(encode_frame(frame))
    return records


def test_integers_stay_exact() -> None:
    frame = pd.DataFrame({"id": [BIG, -BIG], "u": np.array([2**64 - 1, 0], np.uint64)})
    assert sent(frame) == [{"id": BIG, "u": 2**64 - 1}, {"id": -BIG, "u": 0}]


def test_float32_stays_the_same_number() -> None:
    frame = pd.DataFrame({"x": np.array([0.1, 1e-8], np.float32)})
    assert [np.float32(row["x"]) for row in sent(frame)] == list(frame["x"])


def test_arrays_become_lists() -> None:
    frame = pd.DataFrame(
        {
            "tensor": [np.arange(3, dtype=np.float32), np.zeros(3, np.float32)],
            "image": [np.arange(4).reshape(2, 2)[:, ::-1], np.zeros((2, 2), int)],
            "words": [np.array(["a", "b"], dtype=object), ["c"]],
        }
    )
    assert sent(frame) == [
        {"tensor": [0.0, 1.0, 2.0], "image": [[1, 0], [3, 2]], "words": ["a", "b"]},
        {"tensor": [0.0, 0.0, 0.0], "image": [[0, 0], [0, 0]], "words": ["c"]},
    ]


def test_times_are_iso_8601() -> None:
    frame = pd.DataFrame(
        {
            "at": pd.to_datetime(["2024-02-29T12:00:00.123456789", "NaT"]),
            "zoned": pd.to_datetime(["2024-02-29T12:00:00+02:00"] * 2),
            "object": np.array([datetime(2024, 1, 1, tzinfo=UTC), None], dtype=object),
        }
    )
    assert sent(frame) == [
        {
            "at": "2024-02-29T12:00:00.123456789",
            "zoned": "2024-02-29T12:00:00+02:00",
            "object": "2024-01-01T00:00:00+00:00",
        },
        {"at": None, "zoned": "2024-02-29T12:00:00+02:00", "object": None},
    ]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("2024-02-29T12:00:00.123000+00:00", "2024-02-29T12:00:00.123+00:00"),
        ("2024-02-29T12:00:00.120-10:00", "2024-02-29T12:00:00.12-10:00"),
        ("2024-02-29T12:00:00.100001", "2024-02-29T12:00:00.100001"),
        ("2024-10-20T10:00:00", "2024-10-20T10:00:00"),
    ],
)
def test_times_have_no_more_digits_than_they_need(given: str, told: str) -> None:
    assert sent(pd.DataFrame({"at": [pd.Timestamp(given)]})) == [{"at": told}]


def test_missing_values_are_null() -> None:
    frame = pd.DataFrame(
        {
            "i": pd.array([BIG, None], dtype="Int64"),
            "s": ["a", None],
            "f": [1.5, float("nan")],
            "o": [["x", pd.NA], None],
        }
    )
    assert sent(frame) == [
        {"i": BIG, "s": "a", "f": 1.5, "o": ["x", None]},
        {"i": None, "s": None, "f": None, "o": None},
    ]


def test_texts_bools_and_bytes_go_as_they_are() -> None:
    frame = pd.DataFrame({"s": ["ä\u2028\"'"], "b": [True], "raw": [b"\x00\xff"], 7: [1]})
    assert sent(frame) == [{"s": "ä\u2028\"'", "b": True, "raw": "AP8=", "7": 1}]


def test_no_rows_are_no_records() -> None:
    assert sent(pd.DataFrame({"text": []})) == []


def test_cell_that_json_cannot_say_is_refused() -> None:
    with pytest.raises(InvalidPayloadError, match="complex is no JSON type"):
        encode_frame(pd.DataFrame({"x": np.array([1j, "a"], dtype=object)}))


def test_columns_stand_in_the_documented_order() -> None:
    frame = decode_frame(
        [{"anomaly.count": 0, "out.b": 1, "metadata.elapsed": [1, 2], "in.a": 2, "time": 5}]
    )
    assert list(frame) == ["time", "in.a", "out.b", "anomaly.count", "metadata.elapsed"]


def test_time_is_a_time_of_the_same_millisecond() -> None:
    frame = decode_frame([{"time": 1688750664105}, {"time": 1688750664106}])
    assert str(frame["time"].dtype) == "datetime64[ms]"
    assert frame["time"][0] == pd.Timestamp("2023-07-07T17:24:24.105")


def test_integers_beside_missing_ones_stay_exact() -> None:
    frame = decode_frame([{"out.id": BIG}, {"out.id": None}])
    assert str(frame["out.id"].dtype) == "Int64"
    assert frame["out.id"][0] == BIG
    assert frame["out.id"][1] is pd.NA


@pytest.mark.parametrize("value", [2**64 - 1, BIG, -BIG])
def test_integers_come_back_exact(value: int) -> None:
    assert decode_frame([{"out.id": value}])["out.id"].tolist() == [value]
    beside_missing = decode_frame([{"out.id": value}, {"out.id": None}])["out.id"]
    assert int(beside_missing[0]) == value


def test_lists_come_back_as_lists() -> None:
    frame = decode_frame([{"out.x": [[1.5], [2.5, 3]]}])
    assert frame.loc[0]["out.x"] == [[1.5], [2.5, 3]]


def test_missing_texts_and_flags_stay_missing() -> None:
    frame = decode_frame([{"out.s": "a", "out.b": True}, {"out.s": None, "out.b": None}])
    assert frame["out.s"].isna().tolist() == [False, True]
    assert frame["out.b"].tolist() == [True, None]


def test_times_that_went_in_come_back_as_times() -> None:
    like = pd.DataFrame(
        {
            "at": pd.to_datetime(["2024-02-29T12:00:00.123456789", "NaT"]),
            "zoned": pd.to_datetime(["2024-02-29T12:00:00+00:00"] * 2),
        }
    )
    answer = [{f"in.{key}": value for key, value in row.items()} for row in sent(like)]
    frame = decode_frame(answer, like)
    assert frame["in.at"].dtype == like["at"].dtype
    assert frame["in.at"].equals(like["at"].rename("in.at"))
    assert frame["in.zoned"].equals(like["zoned"].rename("in.zoned"))


def test_no_records_are_an_empty_frame() -> None:
    assert len(decode_frame([])) == 0


def test_rows_that_are_no_objects_are_refused() -> None:
    with pytest.raises(ApiError, match="no JSON objects"):
        decode_frame([{"time": 1}, 2])
