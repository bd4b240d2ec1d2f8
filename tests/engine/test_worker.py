"""What a worker answers: outputs checked, errors sorted, the channel's edge cases."""

import asyncio
import json
import pickle
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from byop.engine.frames import Frame, FrameKind, FrameReader, encode_header
from byop.engine.masking import Masker
from byop.engine.worker_calls import Arrays, ModelCall
from byop.engine.worker_logs import LogDrain, LogFile, LogRing
from byop.engine.worker_process import RunDirectory, WorkerProcess, describe_exit
from byop.errors import ModelFailedError, ModelInputRejectedError, ModelOutputInvalidError
from byop.ports.engine import ModelLaunch
from byop.tables.ipc import read_stream, write_stream
from tests.engine.conftest import DEPLOYMENT, DOUBLE, INPUTS, OUTPUTS, Bench, Models, floats


@pytest.mark.parametrize(
    ("returned", "told"),
    [
        ("[1.0]", "must return a dictionary of numpy arrays, got list"),
        ("None", "must return a dictionary of numpy arrays, got NoneType"),
        ("(n for n in [1])", "got generator"),
        ("{'y': [1.0]}", "output 'y' must be a numpy array, got list"),
        ("{1: x}", "output names must be strings, got 1"),
        ("{'z': x}", "column 'y' is missing: got 'z'"),
        ("{'y': x, 'z': x}", "column 'z' is not in the schema"),
        ("{'y': np.append(x, 1.0)}", "column 'y' has the wrong length: expected 2, got 3"),
        ("{'y': np.array(['a', 'b'])}", "column 'y' has the wrong type: expected float64"),
    ],
)
def test_output_that_does_not_fit_is_an_error_that_says_how(returned: str, told: str) -> None:
    def predict(arrays: Arrays) -> object:
        return eval(returned, {"x": arrays["x"], "np": np})  # noqa: S307 - the cases above

    call = ModelCall(predict, signature=(INPUTS, OUTPUTS), masker=Masker({}), max_answer_bytes=1024)
    header, payload = call.answer(5, write_stream(floats(1.0, 2.0)))
    assert header == encode_header(FrameKind.ERROR, len(payload), request_id=5)
    error = json.loads(bytes(payload))
    assert error["code"] == ModelOutputInvalidError.code
    assert told in error["reason"]


async def test_errors_of_the_author_are_sorted(bench: Bench, models: Models) -> None:
    model = models.step(
        """
        from mac.exceptions import InferenceDataValidationError, InferencePreprocessingError

        RAISED = [
            InferenceDataValidationError("text is empty"),
            InferencePreprocessingError("no tokens"),
            KeyError("label"),
            SystemExit(2),
            MemoryError(),
        ]

        def process_data(input_data):
            raise RAISED[int(input_data["x"][0])]
        """
    )
    await bench.run(model)
    expected = [
        (ModelInputRejectedError, "InferenceDataValidationError: text is empty"),
        (ModelInputRejectedError, "InferencePreprocessingError: no tokens"),
        (ModelFailedError, "KeyError: 'label'"),
        (ModelFailedError, "SystemExit: 2"),
        (ModelFailedError, "MemoryError"),
    ]
    for number, (kind, told) in enumerate(expected):
        with pytest.raises(kind, match=told):
            await bench.predict(float(number))
    told_status = bench.engine.status(DEPLOYMENT)
    assert told_status is not None
    assert told_status.replicas[0].restarts == 0


class RawWorker:
    """A worker process spoken to by bytes, with no gateway code on this end."""

    def __init__(self, launch: ModelLaunch, folder: Path) -> None:
        listener, path = RunDirectory(folder / "run").bind()
        self._path = path
        self._reader = FrameReader()
        self.socket = self.connect()
        self.ended = asyncio.get_running_loop().create_future()
        self.process = WorkerProcess(launch, listener)
        listener.close()
        drain = LogDrain(
            self.process.output, masker=Masker({}), ring=LogRing(), file=LogFile(folder / "log")
        )
        self.process.watch(drain, asyncio.get_running_loop(), self.ended.set_result)

    def connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(60)
        connection.connect(str(self._path))
        return connection

    def send(self, kind: FrameKind, request_id: int = 0, payload: bytes = b"") -> None:
        header = encode_header(kind, len(payload), request_id=request_id)
        self.socket.sendall(header + payload)

    def receive(self) -> Frame:
        """Return the next frame; the tests ask for one at a time."""
        while True:
            count = self.socket.recv_into(self._reader.space())
            assert count
            frames = self._reader.received(count)
            if frames:
                (frame,) = frames
                return frame


@pytest.fixture
async def raw(tmp_path: Path, models: Models) -> AsyncIterator[RawWorker]:
    worker = RawWorker(models.step(DOUBLE), tmp_path)
    assert worker.receive().kind is FrameKind.READY
    yield worker
    worker.socket.close()
    worker.process.kill()
    await worker.ended


async def test_ping_is_answered(raw: RawWorker) -> None:
    raw.send(FrameKind.PING, 9)
    frame = raw.receive()
    assert (frame.kind, frame.request_id) == (FrameKind.PONG, 9)


async def test_pickle_where_arrow_is_expected_is_an_error(raw: RawWorker) -> None:
    raw.send(FrameKind.PREDICT, 1, pickle.dumps({"x": 1}))
    frame = raw.receive()
    assert (frame.kind, frame.request_id) == (FrameKind.ERROR, 1)
    assert "not a valid Arrow IPC stream" in bytes(frame.payload).decode()


async def test_garbage_ends_the_connection_and_not_the_worker(raw: RawWorker) -> None:
    raw.socket.sendall(b"GET / HTTP/1.1\r\nHost: somewhere\r\n\r\n")
    assert raw.socket.recv(1) == b""
    raw.socket.close()
    raw.socket = raw.connect()
    assert raw.receive().kind is FrameKind.READY
    raw.send(FrameKind.PREDICT, 2, write_stream(floats(1.5)).to_pybytes())
    assert read_stream(raw.receive().payload).column("y").to_pylist() == [3.0]


async def test_large_batch_goes_both_ways(raw: RawWorker) -> None:
    batch = floats(*range(300_000))
    sending = asyncio.to_thread(raw.send, FrameKind.PREDICT, 3, write_stream(batch).to_pybytes())
    _, frame = await asyncio.gather(sending, asyncio.to_thread(raw.receive))
    assert read_stream(frame.payload).column("y")[-1].as_py() == 2 * 299_999


async def test_drain_ends_the_worker_by_itself(raw: RawWorker) -> None:
    raw.send(FrameKind.DRAIN)
    assert await raw.ended == 0


async def test_end_of_the_lifeline_ends_the_worker(raw: RawWorker) -> None:
    raw.process.cut_lifeline()
    assert await raw.ended != 0


def test_exit_is_described() -> None:
    assert describe_exit(3) == "the worker process exited with code 3"
    assert describe_exit(-9) == "the worker process was killed by signal SIGKILL"
    assert describe_exit(-64) == "the worker process was killed by signal SIGRTMAX"
