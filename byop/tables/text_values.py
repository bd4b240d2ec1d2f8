"""Python values -> Arrow arrays of the types that JSON writes as text: times, dates, binary.

A timestamp is ISO 8601 text, with an offset exactly when the type has a zone, or an integer:
milliseconds since 1970 UTC, which is what pandas writes. A date32 is ``YYYY-MM-DD``, binary is
base64. Object arrays may hold the Python and numpy objects for them.
"""

import base64
import binascii
from collections.abc import Callable
from datetime import date

import numpy as np
import pyarrow as pa

from byop.tables.misfits import Place, Values, describe_types
from byop.tables.schemas import format_type


def timestamps(values: Values, kind: pa.DataType, place: Place) -> pa.Array:
    """Return timestamps of ``kind``."""
    found = set(map(type, values)) - {type(None)}
    if found <= {str}:
        return _cast_text(values, kind, place)
    if found <= {int}:
        return _reporting(
            lambda: pa.array(values, pa.int64()).cast(pa.timestamp("ms", kind.tz)).cast(kind),
            values,
            place,
        )
    if found <= {np.datetime64}:
        return _instants(values, kind, place)
    if found & {float, bool, dict, list}:
        raise place.misfit(describe_types(found))
    return whatever_arrow_takes(values, kind, place)


def _instants(values: Values, kind: pa.DataType, place: Place) -> pa.Array:
    ticks: list[int | None] = []
    for value in values:
        if value is None or np.isnat(value):
            ticks.append(None)
            continue
        converted = value.astype(f"M8[{kind.unit}]")
        if converted != value:
            raise place.misfit(f"datetime64 of unit {np.datetime_data(value.dtype)[0]}")
        ticks.append(int(converted.astype(np.int64)))
    return pa.array(ticks, pa.int64()).cast(kind)


def dates(values: Values, kind: pa.DataType, place: Place) -> pa.Array:
    """Return date32 values."""
    found = set(map(type, values)) - {type(None)}
    if found <= {str}:
        return _cast_text(values, kind, place)
    days = [value.item() if isinstance(value, np.datetime64) else value for value in values]
    if {type(day) for day in days if day is not None} <= {date}:
        return whatever_arrow_takes(days, kind, place)
    raise place.misfit(describe_types(found))


def _cast_text(values: Values, kind: pa.DataType, place: Place) -> pa.Array:
    try:
        return pa.array(values, pa.string()).cast(kind)
    except pa.ArrowInvalid as error:
        raise place.misfit(f"text that is no {format_type(kind)}: {error}") from error


def binaries(values: Values, kind: pa.DataType, place: Place) -> pa.Array:
    """Return binary values of ``kind``."""

    def decode(value: object) -> object:
        return base64.b64decode(value, validate=True) if isinstance(value, str) else value

    try:
        plain = [decode(value) for value in values]
    except (binascii.Error, ValueError):
        raise place.misfit("text that is no base64") from None
    return whatever_arrow_takes(plain, kind, place)


def whatever_arrow_takes(values: Values, kind: pa.DataType, place: Place) -> pa.Array:
    """Return the values as Arrow converts them to ``kind``."""
    return _reporting(lambda: pa.array(values, type=kind), values, place)


def _reporting(build: Callable[[], pa.Array], values: Values, place: Place) -> pa.Array:
    try:
        return build()
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        found = {type(value) for value in values if value is not None}
        raise place.misfit(describe_types(found)) from error
