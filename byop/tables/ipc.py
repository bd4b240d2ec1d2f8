"""Arrow IPC bytes <-> one batch. Also runs in workers: standard library and pyarrow only."""

from collections import Counter
from collections.abc import Iterable

import pyarrow as pa

from byop.errors import InvalidPayloadError, TooLargeError

_FILE_MAGIC = b"ARROW1"
_ALIGNMENT = 8


def read_file(data: bytes | memoryview | pa.Buffer, *, max_bytes: int) -> pa.RecordBatch:
    """Return the rows of an Arrow IPC file (or stream) as one batch over ``data``'s memory.

    The bytes come from anywhere, so everything is validated: a quarter of randomly damaged files
    are read without complaint and only full validation rejects them (providers-security.md,
    fact 9). ``max_bytes`` bounds ``data`` and, batch by batch, what it decompresses to.

    Raises:
        InvalidPayloadError: No Arrow data, damaged data, or two columns of one name.
        TooLargeError: More than ``max_bytes``.
    """
    source = _aligned(data)
    if source.size > max_bytes:
        raise TooLargeError("the Arrow body", max_bytes)
    try:
        schema, batches = _read_batches(source, max_bytes)
        batch = _as_one(schema, batches)
        batch.validate(full=True)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InvalidPayloadError(f"not a valid Arrow IPC file: {error}") from error
    _require_distinct_names(batch)
    return batch


def write_file(batch: pa.RecordBatch) -> pa.Buffer:
    """Return the batch as an Arrow IPC file."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue()


def write_stream(batch: pa.RecordBatch) -> pa.Buffer:
    """Return the batch as an Arrow IPC stream, the form on the worker channel."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue()


def read_stream(data: bytes | memoryview | pa.Buffer) -> pa.RecordBatch:
    """Return the batch that ``write_stream`` wrote, over ``data``'s memory.

    Validated in full too: the other end runs model code.

    Raises:
        InvalidPayloadError: The bytes are no Arrow stream.
    """
    try:
        with pa.ipc.open_stream(_aligned(data)) as reader:
            batch = _as_one(reader.schema, list(reader))
        batch.validate(full=True)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InvalidPayloadError(f"not a valid Arrow IPC stream: {error}") from error
    return batch


def _aligned(data: bytes | memoryview | pa.Buffer) -> pa.Buffer:
    source = pa.py_buffer(data)
    if source.address % _ALIGNMENT:
        return pa.py_buffer(bytes(data))
    return source


def _read_batches(source: pa.Buffer, max_bytes: int) -> tuple[pa.Schema, list[pa.RecordBatch]]:
    if source.slice(0, len(_FILE_MAGIC)).to_pybytes() == _FILE_MAGIC:
        with pa.ipc.open_file(source) as reader:
            numbers = range(reader.num_record_batches)
            return reader.schema, _bounded((reader.get_batch(n) for n in numbers), max_bytes)
    with pa.ipc.open_stream(source) as stream:
        return stream.schema, _bounded(stream, max_bytes)


def _bounded(batches: Iterable[pa.RecordBatch], max_bytes: int) -> list[pa.RecordBatch]:
    kept: list[pa.RecordBatch] = []
    total = 0
    for batch in batches:
        total += batch.nbytes
        if total > max_bytes:
            raise TooLargeError("the decompressed Arrow body", max_bytes)
        kept.append(batch)
    return kept


def _as_one(schema: pa.Schema, batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    if len(batches) == 1:
        return batches[0]
    for batch in batches:
        # Joining damaged chunks reads out of bounds: validate before, not only after.
        batch.validate(full=True)
    joined = pa.Table.from_batches(batches, schema=schema).combine_chunks().to_batches()
    if len(joined) == 1:
        return joined[0]
    if not joined:
        return _empty(schema)
    raise InvalidPayloadError("a column holds more than 2 GiB of text in several batches")


def _empty(schema: pa.Schema) -> pa.RecordBatch:
    columns = [pa.nulls(0, field.type) for field in schema]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _require_distinct_names(batch: pa.RecordBatch) -> None:
    names = batch.schema.names
    if len(set(names)) != len(names):
        name, times = Counter(names).most_common(1)[0]
        raise InvalidPayloadError(f"column {name!r} is there {times} times: columns need own names")
