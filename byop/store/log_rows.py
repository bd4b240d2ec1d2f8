"""Inference records as the log stores them: one Arrow IPC message of flat columns."""

import hashlib
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa

from byop.domain.inferences import InferenceMetadata, InferenceRecord
from byop.store.log_fixed import decode_fixed, is_fixed

CHUNK_BYTES: Final = 8 << 20
"""A larger record is stored in several rows, so that no page must load all of it."""

_PREFIXES = ("in.", "out.", "anomaly.")
_SCHEMAS_PER_TOPIC = 8


class LogSchema:
    """The stored columns of a record and where its three datasets lie among them."""

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema
        self.serialized = schema.serialize().to_pybytes()
        self.fingerprint = hashlib.sha256(self.serialized).digest()
        bounds = [0]
        self._datasets: list[tuple[int, int, pa.Schema]] = []
        for prefix in _PREFIXES:
            fields = [field for field in schema if field.name.startswith(prefix)]
            bounds.append(bounds[-1] + len(fields))
            bare = pa.schema([field.with_name(field.name[len(prefix) :]) for field in fields])
            self._datasets.append((bounds[-2], bounds[-1], bare))
        self._is_fixed = all(is_fixed(field.type) for field in schema)
        self.holds_dictionary = any(_holds_dictionary(field.type) for field in schema)

    @staticmethod
    def of(record: InferenceRecord) -> "LogSchema":
        """Return the schema that stores ``record``; Arrow metadata is left out."""
        datasets = (record.inputs, record.outputs, record.anomalies)
        return LogSchema(
            pa.schema(
                pa.field(prefix + field.name, field.type, nullable=field.nullable)
                for prefix, dataset in zip(_PREFIXES, datasets, strict=True)
                for field in dataset.schema
            )
        )

    def fits(self, record: InferenceRecord) -> bool:
        """Return whether this is the schema of ``record``."""
        (_, _, inputs), (_, _, outputs), (_, _, anomalies) = self._datasets
        return bool(
            record.outputs.schema.equals(outputs)
            and record.inputs.schema.equals(inputs)
            and record.anomalies.schema.equals(anomalies)
        )

    def pack(self, record: InferenceRecord) -> pa.RecordBatch:
        """Return the record's columns side by side, not copied.

        Raises:
            ValueError: The datasets differ in length.
        """
        columns = record.inputs.columns + record.outputs.columns + record.anomalies.columns
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)

    def encode(self, batch: pa.RecordBatch) -> pa.Buffer:
        """Return the bytes to store. A dictionary needs a stream: it is a message of its own."""
        if not self.holds_dictionary:
            return batch.serialize()
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, self.schema) as stream:
            stream.write_batch(batch)
        return sink.getvalue()

    def decode(self, stored: bytes) -> pa.RecordBatch:
        """Return the batch that ``encode`` wrote.

        Raises:
            OSError: The bytes are not what was written; Arrow chooses between the two.
            pa.ArrowException: The same.
        """
        try:
            if not self.holds_dictionary:
                return pa.ipc.read_record_batch(pa.py_buffer(stored), self.schema)
            with pa.ipc.open_stream(pa.py_buffer(stored)) as stream:
                return stream.read_next_batch()
        except (EOFError, StopIteration):
            raise pa.ArrowInvalid("a stored batch is empty") from None

    def split(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, ...]:
        """Return inputs, outputs and anomalies of a stored batch, not copied."""
        columns = batch.columns
        return tuple(
            # An empty list would make a batch without rows.
            pa.RecordBatch.from_arrays(columns[start:stop], schema=schema)
            if start < stop
            else batch.select([])
            for start, stop, schema in self._datasets
        )

    def decode_all(self, stored: Sequence[bytes]) -> pa.Table:
        """Return the rows of batches that ``encode`` wrote, one after the other.

        Raises:
            OSError: The bytes are not what was written, as far as that shows.
            pa.ArrowException: The same.
        """
        table = self._decode_all(stored)
        table.validate(full=not self._is_fixed)
        return table

    def _decode_all(self, stored: Sequence[bytes]) -> pa.Table:
        if self.holds_dictionary:
            return pa.Table.from_batches(map(self.decode, stored), self.schema)
        if self._is_fixed and len(stored) > 1:
            table = decode_fixed(stored, self.decode)
            if table is not None:
                return table
        with pa.ipc.open_stream(pa.py_buffer(b"".join([self.serialized, *stored]))) as stream:
            return stream.read_all()


class LogSchemas:
    """The schemas that topics had lately: comparing is far cheaper than building."""

    def __init__(self) -> None:
        self._by_topic: dict[str, list[LogSchema]] = {}

    def of(self, topic: str, record: InferenceRecord) -> LogSchema:
        """Return the schema that stores ``record``."""
        known = self._by_topic.setdefault(topic, [])
        for schema in known:
            if schema.fits(record):
                return schema
        schema = LogSchema.of(record)
        self._by_topic[topic] = [schema, *known][:_SCHEMAS_PER_TOPIC]
        return schema


class Origin(NamedTuple):
    """The metadata that all records of a deployment share."""

    last_model: str
    pipeline_version: str
    partition: str
    dropped: tuple[str, ...]

    @staticmethod
    def of(metadata: InferenceMetadata) -> "Origin":
        """Return the shared part of ``metadata``."""
        return Origin(
            metadata.last_model, metadata.pipeline_version, metadata.partition, metadata.dropped
        )


def encode_parts(schema: LogSchema, batch: pa.RecordBatch) -> list[tuple[int, pa.Buffer]]:
    """Return rows and bytes of each part to store; a part has CHUNK_BYTES or about, or one row."""
    rows = batch.num_rows
    stored = schema.encode(batch)
    if stored.size <= CHUNK_BYTES or rows == 1:
        return [(rows, stored)]
    step = max(1, rows * CHUNK_BYTES // stored.size)
    del stored
    parts = (batch.slice(start, step) for start in range(0, rows, step))
    return [(part.num_rows, schema.encode(part)) for part in parts]


def reverse_rows(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return the rows last to first."""
    count = batch.num_rows
    if count == 1:
        return batch
    order = pa.py_buffer(np.arange(count - 1, -1, -1, dtype=np.int64))
    return batch.take(pa.Array.from_buffers(pa.int64(), count, [None, order]))


def _holds_dictionary(kind: pa.DataType) -> bool:
    if isinstance(kind, pa.BaseExtensionType):
        return _holds_dictionary(kind.storage_type)
    return pa.types.is_dictionary(kind) or any(
        _holds_dictionary(kind.field(number).type) for number in range(kind.num_fields)
    )
