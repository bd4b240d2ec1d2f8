"""The worker's life: load one model, tell its schemas, answer requests.

Imported inside model environments: numpy, pyarrow and the standard library only.
"""

import faulthandler
import json
import math
import socket
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from byop.bundle.loading import LoadedModel, load_inference, load_python_step
from byop.engine import worker_async, worker_sync
from byop.engine.frames import FrameKind, encode_header
from byop.engine.masking import Masker
from byop.engine.schema_texts import schema_from_text, schema_to_text
from byop.engine.worker_calls import ModelCall
from byop.errors import ByopError, ModelLoadFailedError
from byop.sdk import mac_alias

ASYNC_SLOTS = 64
"""Batches that an async model gets at once unless the deployment says how many."""


@dataclass(frozen=True, slots=True)
class WorkerLaunch:
    """What the gateway asks for."""

    listener: int
    model: str
    framework: str
    path: Path
    inputs: pa.Schema | None
    outputs: pa.Schema | None
    concurrency: int
    cpus: float | None
    max_answer_bytes: int


def run(description: Mapping[str, object]) -> None:
    """Serve the model until DRAIN. A model that cannot be loaded is told to the gateway."""
    faulthandler.enable()
    launch = _read_launch(description)
    masker = Masker(_variables(description))
    listener = socket.socket(fileno=launch.listener)
    mac_alias.install()
    try:
        call, is_async = _load(launch, masker)
    except BaseException as error:  # noqa: BLE001 - the worker's edge: whatever a model's import does
        traceback.print_exception(error.__cause__ or error)
        _tell_load_failure(listener, masker.reason(_why(error)))
        sys.exit(1)
    if imports_pandas(call.inputs, call.outputs):
        pa.array([""])  # now, and not during the first request
    ready = _ready_frame(launch, call, is_async=is_async)
    if is_async:
        worker_async.serve(listener, call, ready)
    else:
        worker_sync.serve(listener, call, ready, threads=launch.concurrency)


def _variables(description: Mapping[str, object]) -> dict[str, str]:
    given = description["environment"]
    return (
        {str(name): str(value) for name, value in given.items()} if isinstance(given, dict) else {}
    )


def _read_launch(given: Mapping[str, object]) -> WorkerLaunch:
    cpus = given["cpus"]
    return WorkerLaunch(
        listener=int(str(given["listener"])),
        model=str(given["model"]),
        framework=str(given["framework"]),
        path=Path(str(given["path"])),
        inputs=schema_from_text(given["inputs"]),
        outputs=schema_from_text(given["outputs"]),
        concurrency=int(str(given["concurrency"])),
        cpus=None if cpus is None else float(str(cpus)),
        max_answer_bytes=int(str(given["max_answer_bytes"])),
    )


def _load(launch: WorkerLaunch, masker: Masker) -> tuple[ModelCall, bool]:
    inputs, outputs = launch.inputs, launch.outputs
    if launch.framework == "onnx":
        from byop.engine.worker_onnx import OnnxModel  # noqa: PLC0415 - needs onnxruntime

        onnx = OnnxModel(launch.path, threads=math.ceil(launch.cpus or 0))
        loaded = LoadedModel(predict=onnx.predict, is_async=False)
        inputs, outputs = inputs or onnx.inputs, outputs or onnx.outputs
    elif launch.framework == "python":
        loaded = load_python_step(launch.path)
    else:
        loaded = load_inference(launch.path)
    call = ModelCall(
        loaded.predict,
        signature=(inputs, outputs),
        masker=masker,
        max_answer_bytes=launch.max_answer_bytes,
    )
    return call, loaded.is_async


def _ready_frame(launch: WorkerLaunch, call: ModelCall, *, is_async: bool) -> bytes:
    slots = ASYNC_SLOTS if is_async and launch.concurrency == 1 else launch.concurrency
    payload = json.dumps(
        {
            "is_async": is_async,
            "slots": slots,
            "inputs": schema_to_text(call.inputs),
            "outputs": schema_to_text(call.outputs),
        }
    ).encode()
    return encode_header(FrameKind.READY, len(payload)) + payload


def imports_pandas(inputs: pa.Schema | None, outputs: pa.Schema | None) -> bool:
    """Return whether pyarrow imports pandas, where it is installed, for a request of these types.

    It does so in ``to_numpy`` and in ``pa.array``, whatever the values; numbers are read and
    written without them. Numbers with nulls are not, but few requests hold any, and the import
    takes 0.2 to 0.4 s and 53 MiB.
    """
    if inputs is None or outputs is None:
        return True
    return any(_is_read_by_to_numpy(_leaf(field.type)) for field in inputs) or any(
        not pa.types.is_primitive(_leaf(field.type)) for field in outputs
    )


def _is_read_by_to_numpy(kind: pa.DataType) -> bool:
    if pa.types.is_boolean(kind) or pa.types.is_temporal(kind):
        return True
    return not (pa.types.is_primitive(kind) or pa.types.is_struct(kind) or _is_binary(kind))


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _leaf(kind: pa.DataType) -> pa.DataType:
    while pa.types.is_nested(kind) and not pa.types.is_struct(kind):
        kind = kind.field(0).type
    return kind


def _why(error: BaseException) -> str:
    if isinstance(error, ModelLoadFailedError):
        return str(error.facts.get("reason", error))
    if isinstance(error, ByopError):
        return str(error)
    return f"{type(error).__name__}: {error}"


def _tell_load_failure(listener: socket.socket, reason: str) -> None:
    """Answer the connection that the gateway opened before it started this process."""
    payload = json.dumps({"code": ModelLoadFailedError.code, "reason": reason}).encode()
    connection, _ = listener.accept()
    with connection:
        connection.sendall(encode_header(FrameKind.ERROR, len(payload)) + payload)
