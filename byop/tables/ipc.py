"""Arrow IPC bytes <-> one batch. Also runs in workers: standard library and pyarrow only."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pyarrow as pa

from byop.errors import InvalidPayloadError, TooLargeError
from byop.tables.foreign_types import admit_all, made_plain, plain_schema, stands_for_more
from byop.tables.ipc_sizes import FILE_MAGIC, require_decodable
from byop.tables.schemas import MAX_COLUMNS

_ALIGNMENT = 8


@dataclass(frozen=True, slots=True)
class TableLimits:
    """What a table from outside may take: ``decoded_bytes`` in memory, ``columns`` at its top."""

    decoded_bytes: int = 1024**3
    columns: int = MAX_COLUMNS
    is_compressible: bool = True


CHANNEL_LIMITS = TableLimits(decoded_bytes=2 * 1024**3, is_compressible=False)
"""Those of the worker channel, whose frames have at most 2 GiB."""


class IncomingTable:
    """An Arrow IPC file (or stream) of which the schema is read, and nothing else yet.

    The bytes come from anywhere, so everything is validated: a quarter of randomly damaged files
    are read without complaint and only full validation rejects them. What compressed buffers,
    dictionaries and views stand for is known before memory is taken for it.

    Attributes:
        stands_for_more: Whether it has dictionaries or views, which ``read`` makes plain.
    """

    __slots__ = ("_form", "_limits", "_reader", "_source", "stands_for_more")

    def __init__(
        self, data: bytes | memoryview | pa.Buffer, limits: TableLimits, form: str = "file"
    ) -> None:
        """Read the schema. ``form`` is what errors call the bytes; raises as ``read_file``."""
        self._form = form
        self._limits = limits
        try:
            self._source = source = _aligned(data)
            is_file = source.slice(0, len(FILE_MAGIC)).to_pybytes() == FILE_MAGIC
            self._reader = pa.ipc.open_file(source) if is_file else pa.ipc.open_stream(source)
            self.stands_for_more = stands_for_more(self._reader.schema, max_columns=limits.columns)
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise self._invalid(error) from error

    def measured(self, *, max_bytes: int) -> int:
        """Return what the decompressed batches take, by their metadata; raises as ``read_file``."""
        return require_decodable(
            self._source, max_bytes=max_bytes, is_compressible=self._limits.is_compressible
        )

    def read(self, admit: Callable[[int], None] = admit_all) -> pa.RecordBatch:
        """Return the rows, once ``measured`` found them to be within the limits.

        ``admit`` is asked before dictionaries and views are made plain, with what they stand for.
        """
        try:
            batch = self._joined(admit)
            batch.validate(full=True)
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise self._invalid(error) from error
        _require_distinct_names(batch)
        return batch

    def _joined(self, admit: Callable[[int], None]) -> pa.RecordBatch:
        """Return all batches as one, plain, as long as they take no more than allowed.

        Of batches that are plain already the bytes are counted before: they are read where they
        lie. Rows without columns take none, and count all the same.
        """
        schema = self._reader.schema
        kept: list[pa.RecordBatch] = []
        total = 0
        for batch in self._batches():
            plain = batch
            total += batch.num_rows
            if self.stands_for_more:
                plain = made_plain(batch, max_bytes=self._limits.decoded_bytes, admit=admit)
                total += plain.nbytes
            if total > self._limits.decoded_bytes:
                raise TooLargeError("the decompressed Arrow body", self._limits.decoded_bytes)
            kept.append(plain)
        if self.stands_for_more:
            schema = kept[0].schema if kept else plain_schema(schema)
        return _as_one(schema, kept)

    def _invalid(self, error: Exception) -> InvalidPayloadError:
        return InvalidPayloadError(f"not a valid Arrow IPC {self._form}: {error}")

    def _batches(self) -> Iterable[pa.RecordBatch]:
        reader = self._reader
        if isinstance(reader, pa.ipc.RecordBatchFileReader):
            return (reader.get_batch(n) for n in range(reader.num_record_batches))
        batches: Iterable[pa.RecordBatch] = reader
        return batches


def read_file(data: bytes | memoryview | pa.Buffer, limits: TableLimits) -> pa.RecordBatch:
    """Return the rows of an Arrow IPC file (or stream) as one batch over ``data``'s memory.

    Columns of dictionaries and of views come out as plain columns.

    Raises:
        InvalidPayloadError: No Arrow data, damaged data, two columns of one name, too many columns,
            or types that nest too deep or are not read.
        TooLargeError: It takes more than ``limits`` allow.
    """
    return _read(IncomingTable(data, limits), limits)


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


def read_stream(
    data: bytes | memoryview | pa.Buffer, limits: TableLimits = CHANNEL_LIMITS
) -> pa.RecordBatch:
    """Return the batch that ``write_stream`` wrote, over ``data``'s memory.

    Validated like ``read_file``: the other end runs model code.

    Raises:
        InvalidPayloadError, TooLargeError: As ``read_file`` does.
    """
    return _read(IncomingTable(data, limits, "stream"), limits)


def read_trusted_stream(data: bytes | memoryview | pa.Buffer) -> pa.RecordBatch:
    """Return the batch that ``write_stream`` wrote, over ``data``'s memory.

    For a worker, whose other end is the gateway: validated, but not held against limits.

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


def _read(table: IncomingTable, limits: TableLimits) -> pa.RecordBatch:
    table.measured(max_bytes=limits.decoded_bytes)
    return table.read()


def _aligned(data: bytes | memoryview | pa.Buffer) -> pa.Buffer:
    source = pa.py_buffer(data)
    if source.address % _ALIGNMENT:
        return pa.py_buffer(bytes(data))
    return source


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
