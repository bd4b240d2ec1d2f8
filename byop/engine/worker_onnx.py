"""The native ONNX runtime: names and types come from the model itself.

Imported inside model environments that hold onnxruntime.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pyarrow as pa

from byop.errors import ModelInputRejectedError, ModelLoadFailedError, ModelOutputInvalidError

_TYPES: dict[str, tuple[pa.DataType, type]] = {
    "tensor(float)": (pa.float32(), np.float32),
    "tensor(double)": (pa.float64(), np.float64),
    "tensor(float16)": (pa.float16(), np.float16),
    "tensor(int8)": (pa.int8(), np.int8),
    "tensor(int16)": (pa.int16(), np.int16),
    "tensor(int32)": (pa.int32(), np.int32),
    "tensor(int64)": (pa.int64(), np.int64),
    "tensor(uint8)": (pa.uint8(), np.uint8),
    "tensor(uint16)": (pa.uint16(), np.uint16),
    "tensor(uint32)": (pa.uint32(), np.uint32),
    "tensor(uint64)": (pa.uint64(), np.uint64),
    "tensor(bool)": (pa.bool_(), np.bool_),
    "tensor(string)": (pa.string(), object),
}
_QUIET = 3  # onnxruntime's severity "error": warnings about the machine help nobody here


class OnnxModel:
    """A loaded model. The first dimension of every input and output is the row."""

    def __init__(self, path: Path, *, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _QUIET
        options.intra_op_num_threads = threads
        self._name = path.stem
        self._session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        self._given = [_Tensor(self._name, value) for value in self._session.get_inputs()]
        self._found = [_Tensor(self._name, value) for value in self._session.get_outputs()]
        self.inputs = pa.schema([tensor.field() for tensor in self._given])
        self.outputs = pa.schema([tensor.field() for tensor in self._found])

    def predict(self, arrays: dict[str, np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
        """Return every output of the model by name."""
        feed = {tensor.name: tensor.fit(arrays.get(tensor.name)) for tensor in self._given}
        rows = self._one_row_count({name: len(array) for name, array in feed.items()})
        answers = self._session.run([tensor.name for tensor in self._found], feed)
        found = dict(zip((tensor.name for tensor in self._found), answers, strict=True))
        for name, array in found.items():
            if not isinstance(array, np.ndarray) or array.ndim == 0 or len(array) != rows:
                got = len(array) if isinstance(array, np.ndarray) and array.ndim else "no rows"
                raise ModelOutputInvalidError(
                    self._name, f"output {name!r} must have {rows} rows as the input has, got {got}"
                )
        return found

    def _one_row_count(self, rows: dict[str, int]) -> int:
        counts = sorted(set(rows.values()))
        if len(counts) > 1:
            told = ", ".join(f"{name!r} has {count}" for name, count in rows.items())
            raise ModelInputRejectedError(
                self._name, f"every input must have the same number of rows: {told}"
            )
        return counts[0] if counts else 0


class _Tensor:
    """One declared input or output."""

    def __init__(self, model: str, value: Any) -> None:  # noqa: ANN401 - onnxruntime ships no types
        if value.type not in _TYPES:
            raise ModelLoadFailedError(
                model, f"{value.name!r} is a {value.type}, which has no Arrow type here"
            )
        self.name = str(value.name)
        self._model = model
        self._type, dtype = _TYPES[value.type]
        self._dtype = np.dtype(dtype)
        dims: Sequence[object] = value.shape or [None]
        self._inner = tuple(dim if isinstance(dim, int) else None for dim in dims[1:])
        self._is_text = pa.types.is_string(self._type)

    def field(self) -> "pa.Field[pa.DataType]":
        """Return the Arrow column: one list per dimension after the rows."""
        kind = self._type
        for _ in self._inner:
            kind = pa.list_(kind)
        return pa.field(self.name, kind)

    def fit(self, array: np.ndarray[Any, Any] | None) -> np.ndarray[Any, Any]:
        """Return the array as the model takes it: rectangular, of its dtype and shape."""
        if array is None:
            raise self._refuse("is missing")
        if not len(array):
            return np.empty((0, *(dim or 0 for dim in self._inner)), self._dtype)
        if array.dtype.hasobject and not self._is_text:
            raise self._refuse("must be rectangular: its lists differ in length, or hold nulls")
        if array.dtype != self._dtype and not self._is_text:
            raise self._refuse(f"must be {self._dtype}, got {array.dtype}")
        if array.ndim != 1 + len(self._inner) or any(
            wanted not in (None, got)
            for wanted, got in zip(self._inner, array.shape[1:], strict=True)
        ):
            raise self._refuse(
                f"must have shape {_shape(self._inner)}, got {_shape(array.shape[1:])} per row"
            )
        return np.ascontiguousarray(array)

    def _refuse(self, why: str) -> ModelInputRejectedError:
        return ModelInputRejectedError(self._model, f"input {self.name!r} {why}")


def _shape(dims: Sequence[int | None]) -> str:
    return "[" + ", ".join("any" if dim is None else str(dim) for dim in dims) + "]"
