"""One request inside a worker: Arrow in, the author's function, Arrow out, errors sorted.

Imported inside model environments: numpy, pyarrow and the standard library only.
"""

import errno
import json
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from byop.engine.frames import FrameKind, Payload, encode_header
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

_EXHAUSTED_IN_A_ROW = 3
"""A worker that has run out of memory or descriptors for so many requests does not recover."""


class ModelCall:
    """Answers PREDICT payloads with whole frames, header and payload apart."""

    def __init__(
        self,
        predict: Predict,
        *,
        signature: tuple[pa.Schema | None, pa.Schema | None],
        masker: Masker,
        max_answer_bytes: int,
    ) -> None:
        self.inputs, self.outputs = signature
        self._max_answer_bytes = max_answer_bytes
        self._exhausted_in_a_row = 0
        self._predict = predict
        self._masker = masker

    def answer(self, request_id: int, payload: Payload) -> tuple[bytes, Payload]:
        """Return the frame that answers the request. Never raises for the author's errors."""
        try:
            batch = ipc.read_trusted_stream(payload)
            given = arrays.to_arrays(batch)
            start_ns = time.perf_counter_ns()
            found = self._predict(given)
            return self._result(request_id, found, batch.num_rows, _since(start_ns))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the worker's edge
            return self.error(request_id, error)

    async def answer_async(self, request_id: int, payload: Payload) -> tuple[bytes, Payload]:
        """Do the same for an ``async`` predict."""
        try:
            batch = ipc.read_trusted_stream(payload)
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
        header, payload = error_frame(request_id, code, self._masker.reason(reason))
        lacking = _lacking(error)
        self._exhausted_in_a_row = self._exhausted_in_a_row + 1 if lacking else 0
        if lacking is None or self._exhausted_in_a_row < _EXHAUSTED_IN_A_ROW:
            return header, payload
        why = f"it was ended: {lacking} in {self._exhausted_in_a_row} requests in a row"
        wish, its_payload = error_frame(0, ModelFailedError.code, why)
        return b"".join((header, payload, wish)), its_payload

    def _result(
        self, request_id: int, found: object, rows: int, elapsed_ns: int
    ) -> tuple[bytes, Payload]:
        batch = self._to_batch(found, rows)
        self._require_within_limit(batch.nbytes)  # and not only after a copy of it was made
        answer = ipc.write_stream(batch)
        self._require_within_limit(answer.size)
        self._exhausted_in_a_row = 0
        header = encode_header(
            FrameKind.RESULT, answer.size, request_id=request_id, nanoseconds=elapsed_ns
        )
        return header, answer

    def _require_within_limit(self, size_bytes: int) -> None:
        if size_bytes > self._max_answer_bytes:
            raise _OutputInvalidError(
                f"the answer has {size_bytes} bytes, over the limit of {self._max_answer_bytes} "
                "(BYOP_MAX_ANSWER_BYTES): send fewer rows at once, or let the model return less"
            )

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
        except MemoryError:
            raise
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
        case MemoryError():
            return ModelFailedError.code, f"out of memory: {type(error).__name__}: {error}"
        case ByopError():
            return ModelFailedError.code, str(error)
        case _:
            return ModelFailedError.code, f"{type(error).__name__}: {error}"


def _lacking(error: BaseException | None) -> str | None:
    """Return what the process has run out of, where that made the error."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        if isinstance(error, MemoryError):
            return "out of memory"
        if isinstance(error, OSError) and error.errno == errno.EMFILE:
            return "out of file descriptors"
        seen.append(error)
        error = error.__cause__ or error.__context__
    return None
