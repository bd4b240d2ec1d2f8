"""Tables in HTTP bodies: which format comes, which is asked for, and both directions."""

from collections.abc import Callable, Sequence
from enum import Enum
from functools import lru_cache
from operator import itemgetter
from urllib.parse import parse_qsl

import pyarrow as pa

from byop.domain.inferences import InferenceRecord
from byop.errors import UnsupportedMediaTypeError
from byop.tables.columns import conform
from byop.tables.datasets import DatasetSelection
from byop.tables.ipc import IncomingTable, TableLimits, write_file
from byop.tables.records import decode_records
from byop.tables.results import encode_json, to_arrow

_ARROW_FILE = "application/vnd.apache.arrow.file"
_ARROW_STREAM = "application/vnd.apache.arrow.stream"


class Format(Enum):
    """How a table is written. The value is the Content-Type of an answer."""

    RECORDS = b"application/json"
    ARROW = _ARROW_FILE.encode()


_FORMATS = {
    "application/json": Format.RECORDS,
    _ARROW_FILE: Format.ARROW,
    _ARROW_STREAM: Format.ARROW,
}


@lru_cache(maxsize=256)
def format_of_body(content_type: bytes | None) -> Format:
    """Return the format that a Content-Type header names; JSON when there is none.

    ``format=pandas-records``, ``format=wallaroo`` and ``format=custom-json`` are all JSON: a list
    of records and a dict of columns are told apart by looking at them.

    Raises:
        UnsupportedMediaTypeError: It names something else, or a charset that is not UTF-8.
    """
    if content_type is None:
        return Format.RECORDS
    text = content_type.decode("latin-1")
    found = _FORMATS.get(_media_type(text))
    if found is None or not _is_utf8(text):
        raise UnsupportedMediaTypeError(
            "Content-Type",
            text,
            f"send 'application/json; format=pandas-records' in UTF-8, or '{_ARROW_FILE}'",
        )
    return found


@lru_cache(maxsize=256)
def require_json(content_type: bytes | None) -> None:
    """Check the Content-Type of a body that must be JSON; a missing one means JSON.

    Raises:
        UnsupportedMediaTypeError: It names something else, or a charset that is not UTF-8.
    """
    if content_type is None:
        return
    text = content_type.decode("latin-1")
    media_type = _media_type(text)
    is_json = media_type == "application/json" or (
        media_type.startswith("application/") and media_type.endswith("+json")
    )
    if not is_json or not _is_utf8(text):
        raise UnsupportedMediaTypeError("Content-Type", text, "send 'application/json' in UTF-8")


def require_form(content_type: bytes | None) -> None:
    """Check the Content-Type of an upload.

    Raises:
        UnsupportedMediaTypeError: It is no multipart form.
    """
    text = (content_type or b"").decode("latin-1")
    if _media_type(text) != "multipart/form-data":
        raise UnsupportedMediaTypeError(
            "Content-Type", text, "send multipart/form-data with parts metadata and file"
        )


@lru_cache(maxsize=256)
def format_of_answer(accept: bytes | None, default: Format) -> Format:
    """Return the format of an Accept header that we write and that is liked best.

    The first among equals; ``default`` when there is none (RFC 9110 section 12.5.1).
    """
    if accept is None:
        return default
    ranges = accept.decode("latin-1").split(",")
    known = [
        (_quality(one), _FORMATS[kind]) for one in ranges if (kind := _media_type(one)) in _FORMATS
    ]
    quality, found = max(known, key=itemgetter(0), default=(0.0, default))
    return found if quality > 0 else default


@lru_cache(maxsize=1024)
def selection_of_query(query_string: bytes) -> DatasetSelection:
    """Return what ``dataset[]``, ``dataset.exclude[]`` and ``dataset.separator`` select."""
    datasets: list[str] = []
    excluded: list[str] = []
    separator: str | None = None
    for name, value in parse_qsl(query_string.decode("latin-1"), keep_blank_values=True):
        match name:
            case "dataset[]" | "dataset":
                datasets.append(value)
            case "dataset.exclude[]" | "dataset.exclude":
                excluded.append(value)
            case "dataset.separator":
                separator = value or None
            case _:
                pass
    return DatasetSelection.parse(datasets, excluded, separator)


def decode_json(body: bytes, schema: pa.Schema | None, limits: TableLimits) -> pa.RecordBatch:
    """Return the records in ``body``, as the declared ``schema`` wants them when there is one.

    Raises:
        InvalidInputError: One of the leaves: unreadable, too large, or not fitting the schema.
    """
    return decode_records(body, schema, max_columns=limits.columns)


def decode_arrow(
    table: IncomingTable, schema: pa.Schema | None, admit: Callable[[int], None]
) -> pa.RecordBatch:
    """Return the measured ``table`` as ``schema`` wants it; raises as ``decode_json``.

    ``admit`` is asked before more memory is taken than was measured.
    """
    batch = table.read(admit)
    return batch if schema is None else conform(batch, schema)


def encode_table(
    wanted: Format, records: Sequence[InferenceRecord], selection: DatasetSelection
) -> bytes | memoryview:
    """Return the body that holds ``records``."""
    if wanted is Format.RECORDS:
        return encode_json(records, selection)
    return memoryview(write_file(to_arrow(records, selection)))


def _quality(media_range: str) -> float:
    """Return the weight of one range of an Accept header: 1 unless it names another."""
    for parameter in media_range.split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0


def _is_utf8(content_type: str) -> bool:
    """Whether every charset that is named is UTF-8 or part of it; none is UTF-8."""
    for parameter in content_type.split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset" and (
            value.strip().strip('"').lower() not in {"utf-8", "utf8", "us-ascii", "ascii"}
        ):
            return False
    return True


def _media_type(header: str) -> str:
    return header.partition(";")[0].strip().lower()
