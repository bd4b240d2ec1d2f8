"""What a worker sends, read with distrust: the model's code runs at the other end."""

import json
from typing import NamedTuple

import pyarrow as pa

from byop.domain.models import Signature
from byop.engine.frames import Frame, Payload
from byop.engine.masking import Masker
from byop.engine.schema_texts import schema_from_text
from byop.engine.worker_calls import CANCELLED
from byop.errors import (
    InvalidInputError,
    ModelError,
    ModelFailedError,
    ModelInputRejectedError,
    ModelLoadFailedError,
    ModelOutputInvalidError,
)
from byop.ports.engine import Prediction
from byop.tables import ipc

_MAX_JSON_BYTES = 16 * 1024**2
"""More than the schemas of 10,000 columns."""
_MAX_ERROR_BYTES = 64 * 1024
"""More than a reason of 4 KiB with all of it escaped."""
_MAX_SLOTS = 1024
_MOST_PER_BYTE = 16
"""What Arrow needs beside the bytes themselves, for the narrowest columns six times as much."""
_ALWAYS_ALLOWED_BYTES = 1024**2
_MAX_BOOKKEEPING_BYTES = 16 * 1024**2
"""What ``ipc`` counts for the buffers of 10,000 columns, twice."""

_FAILURES: dict[str, type[ModelError]] = {
    kind.code: kind
    for kind in (
        ModelFailedError,
        ModelInputRejectedError,
        ModelOutputInvalidError,
        ModelLoadFailedError,
    )
}


class Ready(NamedTuple):
    """What a worker told when its model was loaded."""

    signature: Signature
    is_async: bool
    slots: int


def read_ready(payload: Payload) -> Ready | None:
    """Return what a READY frame tells, None when it tells nothing that can be used."""
    try:
        told = _read_json(payload)
        signature = Signature(
            inputs=schema_from_text(told["inputs"]), outputs=schema_from_text(told["outputs"])
        )
        slots = min(max(1, int(str(told["slots"]))), _MAX_SLOTS)
        return Ready(signature, bool(told["is_async"]), slots)
    except (ValueError, KeyError, TypeError, RecursionError, InvalidInputError):
        return None


class AnswerReader:
    """Reads the answers of one model's workers."""

    def __init__(self, model: str, masker: Masker, *, max_answer_bytes: int) -> None:
        self._model = model
        self._max_answer_bytes = max_answer_bytes
        self._masker = masker

    def prediction(self, frame: Frame, *, rows: int, expected: pa.Schema | None) -> Prediction:
        """Return what a RESULT frame holds.

        Raises:
            ModelOutputInvalidError: No Arrow data, damaged data, other rows or types.
        """
        try:
            outputs = ipc.read_stream(
                frame.payload, _limits(len(frame.payload), rows, self._max_answer_bytes)
            )
        except (InvalidInputError, pa.ArrowException) as error:
            raise ModelOutputInvalidError(self._model, self._masker.reason(str(error))) from error
        reason = _misfit(outputs, rows, expected)
        if reason is not None:
            raise ModelOutputInvalidError(self._model, self._masker.reason(reason))
        return Prediction(outputs, frame.nanoseconds)

    def error(self, payload: Payload) -> ModelError:
        """Return what an ERROR frame tells."""
        try:
            told = _read_json(payload, max_bytes=_MAX_ERROR_BYTES)
            code, reason = str(told["code"]), str(told["reason"])
        except (ValueError, KeyError, TypeError, RecursionError):
            return ModelFailedError(self._model, "the worker told no reason")
        if code == CANCELLED:
            return ModelFailedError(self._model, "the request was cancelled")
        return _FAILURES.get(code, ModelFailedError)(self._model, self._masker.reason(reason))


def _read_json(payload: Payload, *, max_bytes: int = _MAX_JSON_BYTES) -> dict[str, object]:
    if len(payload) > max_bytes:
        raise ValueError("too long to be what it should be")
    told = json.loads(bytes(payload))
    if not isinstance(told, dict):
        raise TypeError("no object")
    return told


def _limits(payload_bytes: int, rows: int, max_answer_bytes: int) -> ipc.TableLimits:
    """Return what an answer may decode to: a small one is read on the loop and must stay small.

    What a worker writes is neither compressed nor shared between rows, so bounds on frames hold.
    """
    most = _MOST_PER_BYTE * payload_bytes + rows + _ALWAYS_ALLOWED_BYTES
    most = min(most, max_answer_bytes + _MAX_BOOKKEEPING_BYTES)
    return ipc.TableLimits(decoded_bytes=most, is_compressible=False)


def _misfit(outputs: pa.RecordBatch, rows: int, expected: pa.Schema | None) -> str | None:
    """Return what is wrong with an answer; the worker has checked it, but is not trusted."""
    if outputs.num_rows != rows:
        return f"the output must have {rows} rows as the input has, got {outputs.num_rows}"
    if expected is not None and not outputs.schema.equals(expected):
        return f"the output is not as declared: expected {expected}, got {outputs.schema}"
    return None
