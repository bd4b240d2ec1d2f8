"""One inference: what came in, what went out, how it went."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import overload

import pyarrow as pa
from typing_extensions import override


@dataclass(frozen=True, slots=True)
class InferenceMetadata:
    """The ``metadata`` dataset (seed 000, "Run Inference through Local Variable").

    Attributes:
        last_model: JSON text ``{"model_name": ..., "model_sha": ...}`` of the last step.
        pipeline_version: UUID of the pipeline version.
        elapsed_ns: Nanoseconds to parse the input, then of each step.
        partition: Which writer logged it.
        dropped: Columns left out of the log for their size.
    """

    last_model: str
    pipeline_version: str
    elapsed_ns: tuple[int, ...]
    partition: str = "local"
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class InferenceRecord:
    """One request's rows: answered to the caller and appended to the log as it stands.

    Attributes:
        time_ms: When it was made, milliseconds since 1970 UTC; the same for every row.
        inputs: The pipeline's input columns, unprefixed, ``rows`` rows.
        outputs: The last step's output columns, unprefixed, ``rows`` rows.
        anomalies: ``count`` (int8) and one bool column per validation, ``rows`` rows.
        metadata: The same for every row.
    """

    time_ms: int
    inputs: pa.RecordBatch
    outputs: pa.RecordBatch
    anomalies: pa.RecordBatch
    metadata: InferenceMetadata

    @property
    def rows(self) -> int:
        """Number of rows."""
        return int(self.outputs.num_rows)

    def slice(self, offset: int, length: int | None = None) -> "InferenceRecord":
        """Return ``length`` rows from ``offset`` on, without copying."""
        return InferenceRecord(
            time_ms=self.time_ms,
            inputs=self.inputs.slice(offset, length),
            outputs=self.outputs.slice(offset, length),
            anomalies=self.anomalies.slice(offset, length),
            metadata=self.metadata,
        )


@dataclass(frozen=True, slots=True)
class JoinedRecords(Sequence[InferenceRecord]):
    """Records of one set of columns whose rows lie one after the other.

    A record is made when it is asked for: whoever wants the columns has them already.

    Attributes:
        times_ms: When each record was made.
        counts: How many rows each record has.
        inputs: The rows of all records, as in a record; so ``outputs`` and ``anomalies``.
        metadata: Of each record.
    """

    times_ms: Sequence[int]
    counts: Sequence[int]
    inputs: pa.RecordBatch
    outputs: pa.RecordBatch
    anomalies: pa.RecordBatch
    metadata: Sequence[InferenceMetadata]

    @override
    def __len__(self) -> int:
        """Return how many records there are."""
        return len(self.counts)

    @override
    def __iter__(self) -> Iterator[InferenceRecord]:
        """Yield the records, whose rows are not copied."""
        start = 0
        for time_ms, rows, metadata in zip(self.times_ms, self.counts, self.metadata, strict=True):
            yield InferenceRecord(
                time_ms,
                self.inputs.slice(start, rows),
                self.outputs.slice(start, rows),
                self.anomalies.slice(start, rows),
                metadata,
            )
            start += rows

    @overload
    def __getitem__(self, index: int) -> InferenceRecord: ...

    @overload
    def __getitem__(self, index: slice) -> list[InferenceRecord]: ...

    @override
    def __getitem__(self, index: int | slice) -> InferenceRecord | list[InferenceRecord]:
        """Return a record, or several."""
        if isinstance(index, slice):
            return list(self)[index]
        return next(islice(self, range(len(self))[index], None))


def no_anomalies(rows: int) -> pa.RecordBatch:
    """Return the ``anomalies`` of a pipeline without validations: ``count`` 0, int8, per row."""
    counts = pa.Array.from_buffers(pa.int8(), rows, [None, pa.py_buffer(bytes(rows))])
    return pa.RecordBatch.from_arrays([counts], names=["count"])
