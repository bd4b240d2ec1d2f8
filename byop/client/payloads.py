"""Inference data on the wire: what goes in decides what comes back.

Source: reference/wallaroo-sdk.md 2.7 and seed 000, "Output Formats".
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

import orjson
import pyarrow as pa

from byop.client.api import ARROW_FILE, RECORDS
from byop.client.frames import decode_frame, encode_frame, encode_json
from byop.errors import ApiError, InvalidInputError
from byop.tables.schemas import require_serializable

if TYPE_CHECKING:
    import pandas as pd

Texts = str | Sequence[str]


@dataclass(frozen=True, slots=True)
class Payload:
    """A request body, its media type (asked for in the answer, too) and the answer's reader."""

    body: bytes
    media_type: str
    read: Callable[[bytes], Any]


def encode_tensor(tensor: object) -> Payload:
    """Return the payload of a DataFrame, of a dict or list, or of anything that is an Arrow table.

    Raises:
        InvalidInputError: It is none of them, or a cell cannot be sent.
    """
    if _is_frame(tensor):
        return Payload(encode_frame(tensor), RECORDS, partial(read_frame, like=tensor))
    if hasattr(tensor, "__arrow_c_stream__"):
        return Payload(write_table(_as_table(tensor)), ARROW_FILE, read_table)
    if isinstance(tensor, (dict, list)):
        return Payload(encode_json(tensor), RECORDS, read_json)
    raise InvalidInputError(
        f"cannot infer on a {type(tensor).__name__}: give a DataFrame, an Arrow table, or a dict"
    )


def encode_file(path: Path) -> Payload:
    """Return the payload of a ``.json`` (pandas records) or ``.arrow`` file, sent as it stands.

    Raises:
        InvalidInputError: There is no such file, or its name ends otherwise.
    """
    if not path.is_file():
        raise InvalidInputError(f"there is no file {str(path)!r} to infer on")
    match path.suffix.lower():
        case ".arrow":
            return Payload(path.read_bytes(), ARROW_FILE, read_table)
        case ".json":
            return Payload(path.read_bytes(), RECORDS, read_frame)
        case other:
            raise InvalidInputError(
                f"cannot infer on {path.name!r}: its name must end in .json or .arrow, "
                f"not in {other or 'nothing'}"
            )


def selection_params(
    dataset: Texts | None, exclude: Texts | None, separator: Texts | None
) -> list[tuple[str, str]]:
    """Return the query that selects columns. Metadata comes only when it is asked for."""
    chosen = _texts(dataset) or ["*"]
    left_out = _texts(exclude)
    if not any(name.partition(".")[0] in ("metadata", "meta") for name in chosen):
        left_out = [*left_out, "metadata"]
    joiner = "".join(_texts(separator)) or "."
    return [
        *(("dataset[]", name) for name in chosen),
        *(("dataset.exclude[]", name) for name in left_out),
        ("dataset.separator", joiner),
    ]


def write_table(table: pa.Table) -> bytes:
    """Return the table as an Arrow IPC file.

    Raises:
        InvalidSchemaError: A type nests so deep that Arrow would crash.
    """
    require_serializable(table.schema)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    buffer: pa.Buffer = sink.getvalue()
    return bytes(buffer.to_pybytes())


def read_table(body: bytes) -> pa.Table:
    """Return the table in an Arrow IPC file; its ``time`` is timestamp[ms]."""
    try:
        with pa.ipc.open_file(pa.py_buffer(body)) as reader:
            table = reader.read_all()
    except pa.ArrowInvalid as error:
        raise ApiError(f"the server's answer is no Arrow file: {error}") from error
    index = table.schema.get_field_index("time")
    if index >= 0 and pa.types.is_integer(table.schema.field(index).type):
        times = table.column(index).cast(pa.int64()).cast(pa.timestamp("ms"))
        table = table.set_column(index, "time", times)
    return table


def read_json(body: bytes) -> object:
    """Return the JSON value in ``body``."""
    try:
        return orjson.loads(body)
    except ValueError:
        raise ApiError("the server's answer is no JSON") from None


def read_records(body: bytes) -> list[object]:
    """Return the records in ``body``."""
    records = read_json(body)
    if not isinstance(records, list):
        raise ApiError(f"the server's answer is no list of records: {type(records).__name__}")
    return records


def read_frame(body: bytes, like: "pd.DataFrame | None" = None) -> "pd.DataFrame":
    """Return the records in ``body`` as a DataFrame."""
    return decode_frame(read_records(body), like)


def _is_frame(tensor: object) -> "TypeGuard[pd.DataFrame]":
    """Return whether it is a pandas DataFrame: then pandas has been imported already."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(tensor, pandas.DataFrame)


def _as_table(tensor: Any) -> pa.Table:  # noqa: ANN401 - anything that gives an Arrow stream
    return tensor if isinstance(tensor, pa.Table) else pa.table(tensor)


def _texts(value: Texts | None) -> list[str]:
    if value is None:
        return []
    return [value] if isinstance(value, str) else list(value)
