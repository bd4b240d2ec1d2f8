"""One inference: what came in, what went out, how it went."""

from dataclasses import dataclass

import pyarrow as pa


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


def no_anomalies(rows: int) -> pa.RecordBatch:
    """Return the ``anomalies`` of a pipeline without validations: ``count`` 0, int8, per row."""
    counts = pa.Array.from_buffers(pa.int8(), rows, [None, pa.py_buffer(bytes(rows))])
    return pa.RecordBatch.from_arrays([counts], names=["count"])
