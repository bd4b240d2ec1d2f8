"""One request inside a worker: Arrow in, the author's function, Arrow out, errors sorted.

Imported inside model environments: numpy, pyarrow and the standard library only.
"""

import json
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from byop.engine.frames import MAX_PAYLOAD_BYTES, FrameKind, Payload, encode_header
from byop.engine.masking import Masker
from byop.errors import (
    ByopError,
    InvalidInputError,
    ModelFailedError,
    ModelInputRejectedError,
    ModelOutputInvalidError,
)
from byop.sdk.exceptions import InferenceDataValidationError, InferencePreprocessingError
from byop.tables import arrays, ipc

Arrays = dict[str, np.ndarray[Any, Any]]
Predict = Callable[[Arrays], Any]

CANCELLED = "cancelled"
"""``code`` of an ERROR frame that answers CANCEL."""


class ModelCall:
    """Answers PREDICT payloads with whole frames, header and payload apart."""

    def __init__(
        self,
        predict: Predict,
        *,
        inputs: pa.Schema | None,
        outputs: pa.Schema | None,
        masker: Masker,
    ) -> None:
        self.inputs = inputs
        self.outputs = outputs
        self._predict = predict
        self._masker = masker

    def answer(self, request_id: int, payload: Payload) -> tuple[bytes, Payload]:
        """Return the frame that answers the request. Never raises for the author's errors."""
        try:
            batch = ipc.read_stream(payload)
            given = arrays.to_arrays(batch)
            start_ns = time.perf_counter_ns()
            found = self._predict(given)
            return self._result(request_id, found, batch.num_rows, _since(start_ns))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the worker's edge
            return self.error(request_id, error)

    async def answer_async(self, request_id: int, payload: Payload) -> tuple[bytes, Payload]:
        """Do the same for an ``async`` predict."""
        try:
            batch = ipc.read_stream(payload)
            given = arrays.to_arrays(batch)
            start_ns = time.perf_counter_ns()
            found = await self._predict(given)
            return self._result(request_id, found, batch.num_rows, _since(start_ns))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the worker's edge
            return self.error(request_id, error)

    def error(self, request_id: int, error: BaseException) -> tuple[bytes, Payload]:
        """Return the ERROR frame for what was raised; the traceback goes to the worker's log."""
        code, reason = _sort(error)
        if code == ModelFailedError.code:
            traceback.print_exception(error, file=sys.stderr)
        return error_frame(request_id, code, self._masker.reason(reason))

    def _result(
        self, request_id: int, found: object, rows: int, elapsed_ns: int
    ) -> tuple[bytes, Payload]:
        answer = ipc.write_stream(self._to_batch(found, rows))
        if answer.size > MAX_PAYLOAD_BYTES:
            raise _OutputInvalidError(f"the answer is over {MAX_PAYLOAD_BYTES} bytes")
        header = encode_header(
            FrameKind.RESULT, answer.size, request_id=request_id, nanoseconds=elapsed_ns
        )
        return header, answer

    def _to_batch(self, found: object, rows: int) -> pa.RecordBatch:
        if not isinstance(found, Mapping):
            raise _OutputInvalidError(
                f"predict must return a dictionary of numpy arrays, got {type(found).__name__}"
            )
        for name, value in found.items():
            if not isinstance(name, str):
                raise _OutputInvalidError(f"output names must be strings, got {name!r}")
            if not isinstance(value, np.ndarray):
                raise _OutputInvalidError(
                    f"output {name!r} must be a numpy array, got {type(value).__name__}"
                )
        try:
            return arrays.from_arrays(found, self.outputs, rows=rows)
        except (InvalidInputError, pa.ArrowException) as error:
            raise _OutputInvalidError(f"the output is not as declared: {error}") from error


def error_frame(request_id: int, code: str, reason: str) -> tuple[bytes, Payload]:
    """Return an ERROR frame."""
    payload = json.dumps({"code": code, "reason": reason}).encode()
    return encode_header(FrameKind.ERROR, len(payload), request_id=request_id), payload


def _since(start_ns: int) -> int:
    return time.perf_counter_ns() - start_ns


class _OutputInvalidError(Exception):
    """What predict returned cannot be sent."""


def _sort(error: BaseException) -> tuple[str, str]:
    match error:
        case _OutputInvalidError():
            return ModelOutputInvalidError.code, str(error)
        case InferenceDataValidationError() | InferencePreprocessingError():
            return ModelInputRejectedError.code, f"{type(error).__name__}: {error}"
        case ModelInputRejectedError() | ModelOutputInvalidError():
            return error.code, str(error.facts["reason"])
        case ByopError():
            return ModelFailedError.code, str(error)
        case _:
            return ModelFailedError.code, f"{type(error).__name__}: {error}"
