"""pandas DataFrames to pandas-records JSON and back.

pandas is imported where a DataFrame is made and nowhere else. JSON has no NaN and no infinity:
both leave as null; Arrow keeps them.
"""

import base64
import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from byop.errors import ApiError, InvalidInputError, InvalidPayloadError

if TYPE_CHECKING:
    import pandas as pd

_FRACTION = re.compile(r"\.(\d*?)0+(?!\d)")
"""A fraction of a second with zeros at its end: a column of milliseconds takes three digits."""
_FIRST_COLUMNS = ("time", "in", "out")


def encode_frame(frame: "pd.DataFrame") -> bytes:
    """Return the rows as JSON records; arrays inside become lists, times ISO 8601, bytes base64.

    Raises:
        InvalidPayloadError: A cell holds something that JSON cannot say.
    """
    names = [str(name) for name in frame.columns]
    columns = [_cells(frame.iloc[:, index]) for index in range(len(names))]
    records = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
    return encode_json(records)


def encode_json(value: object) -> bytes:
    """Return ``value`` as JSON, numpy arrays and numbers included.

    Raises:
        InvalidPayloadError: It holds something that JSON cannot say.
    """
    try:
        return orjson.dumps(value, default=_plain, option=orjson.OPT_SERIALIZE_NUMPY)
    except TypeError as error:
        reason = error.__cause__ or error
        raise InvalidPayloadError(f"the data cannot be sent as JSON: {reason}") from None


def decode_frame(records: Sequence[object], like: "pd.DataFrame | None" = None) -> "pd.DataFrame":
    """Return flat records as a DataFrame: time, in.*, out.*, then the rest.

    ``time`` is datetime64[ms]. Whole numbers stay exact beside missing ones (Int64). Columns
    ``in.x`` whose ``x`` is a time in ``like`` become times again.
    """
    pd = import_pandas()
    rows = [record for record in records if isinstance(record, dict)]
    if len(rows) != len(records):
        raise ApiError("the server's answer holds rows that are no JSON objects")
    frame = pd.DataFrame({name: _column([row.get(name) for row in rows]) for name in _names(rows)})
    if "time" in frame and frame["time"].dtype == np.int64:
        frame["time"] = frame["time"].to_numpy().astype("datetime64[ms]")
    return frame if like is None else _restore_times(frame, like)


def import_pandas() -> Any:  # noqa: ANN401 - a module: mypy has no type for it
    """Return pandas.

    Raises:
        InvalidInputError: It is not installed.
    """
    try:
        import pandas as pd  # noqa: PLC0415 - optional, and slow to import
    except ImportError:
        raise InvalidInputError(
            "DataFrames need pandas: install byop[pandas], or use Arrow tables"
        ) from None
    return pd


def _cells(series: "pd.Series") -> list[object]:
    if series.dtype.kind in "iufb" and isinstance(series.dtype, np.dtype):
        return series.tolist()
    return series.astype(object).where(series.notna(), None).tolist()


def _plain(value: object) -> object:
    """Return what orjson can write in place of ``value``."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, datetime):
        return _FRACTION.sub(_shortened, value.isoformat())
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if type(value).__name__ in ("NAType", "NaTType"):
        return None
    raise TypeError(f"{type(value).__name__} is no JSON type")


def _shortened(fraction: re.Match[str]) -> str:
    return f".{fraction[1]}" if fraction[1] else ""


def _names(rows: Iterable[dict[str, object]]) -> list[str]:
    names: dict[str, None] = {}
    for row in rows:
        names.update(dict.fromkeys(row))
    return sorted(names, key=_rank)


def _rank(name: str) -> int:
    head = name.partition(".")[0]
    return _FIRST_COLUMNS.index(head) if head in _FIRST_COLUMNS else len(_FIRST_COLUMNS)


def _column(values: list[object]) -> Any:  # noqa: ANN401 - a list or a Series
    """Return ``values`` in a type that keeps them: pandas makes floats of integers beside None."""
    if None not in values:
        return values
    kinds = {type(value) for value in values if value is not None}
    if kinds != {int}:
        return values
    pd = import_pandas()
    try:
        return pd.Series(values, dtype="Int64")
    except (OverflowError, TypeError):
        return pd.Series(values, dtype=object)


def _restore_times(frame: "pd.DataFrame", like: "pd.DataFrame") -> "pd.DataFrame":
    pd = import_pandas()
    for name in like.columns:
        column = f"in.{name}"
        if column in frame and like[name].dtype.kind == "M":
            frame[column] = pd.to_datetime(frame[column]).astype(like[name].dtype)
    return frame
