"""Models that get at the channel to the server: they harm nobody but themselves."""

import ast
import pickle
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pyarrow as pa
import pytest

import byop
from byop.domain.deployments import RunStatus
from byop.engine.masking import Masker
from byop.engine.worker_calls import ModelCall
from byop.errors import ModelCrashedError, ModelFailedError, ModelOutputInvalidError
from tests.attacks.engines import (
    NEIGHBOUR,
    opened_bench,
    run_beside_a_neighbour,
    status_of,
)
from tests.engine.conftest import Bench, Models

UNSAFE_MODULES = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "multiprocessing"}

WRITING = """
    import os, pickle, stat, sys, time
    import numpy as np
    import pyarrow as pa
    from byop.engine.frames import FrameKind, encode_header

    class Bomb:
        def __reduce__(self):
            return os.mkdir, ({marker!r},)

    def frame(kind, request_id, payload=b""):
        return encode_header(kind, len(payload), request_id=request_id) + payload

    def is_socket(number):
        try:
            return stat.S_ISSOCK(os.fstat(number).st_mode)
        except OSError:
            return False

    def send(raw):
        for number in filter(is_socket, range(3, 64)):
            try:
                os.write(number, raw)
            except OSError:
                pass

    def attacks(request_id):
        return [
            b"GET / HTTP/1.1\\r\\nHost: server\\r\\n\\r\\n" * 10,
            frame(FrameKind.RESULT, 999, b"x"),
            frame(FrameKind.PONG, 0),
            frame(FrameKind.DRAIN, 0),
            frame(FrameKind.READY, 0, b"{{}}"),
            frame(FrameKind.RESULT, request_id, pickle.dumps(Bomb())),
            frame(FrameKind.RESULT, request_id, b"\\xff\\xff\\xff\\xff\\x40\\x00\\x00\\x00" * 99),
            frame(FrameKind.ERROR, request_id, b"[" * 100_000),
            frame(FrameKind.RESULT, request_id, stream(zeros(), compression="zstd")),
            frame(FrameKind.RESULT, request_id, stream(one_text_many_times())),
        ]

    def stream(column, **options):
        batch = pa.record_batch([column], names=["y"])
        sink = pa.BufferOutputStream()
        options = pa.ipc.IpcWriteOptions(**options)
        with pa.ipc.new_stream(sink, batch.schema, options=options) as writer:
            writer.write_batch(batch)
        return sink.getvalue().to_pybytes()

    def zeros():
        return pa.array(np.zeros(2**21))

    def one_text_many_times():
        return pa.DictionaryArray.from_arrays(np.zeros(100, np.int32), ["x" * 2**20])

    def process_data(input_data):
        kind, request_id = map(int, input_data["x"])
        if kind == -1:
            os.closerange(3, 1000)
        if kind == -2:
            os.closerange(0, 1000)
        if kind > 0:
            send(attacks(request_id)[kind - 1])
            time.sleep(0.2)
        return {{"y": input_data["x"]}}
"""


@pytest.fixture
def models(tmp_path: Path) -> Models:
    return Models(tmp_path / "models")


@pytest.fixture
async def bench(tmp_path: Path, isolation: str) -> AsyncIterator[Bench]:
    async with opened_bench(tmp_path, isolation) as bench:
        yield bench


async def attack(bench: Bench, kind: int, error: type[Exception], told: str) -> None:
    """Let the model attack with its worker's first request, and see its next worker at work."""
    with pytest.raises(error, match=told):
        await bench.predict(kind, 1)
    await bench.until_true(lambda found: found.replicas[0].restarts == 1)
    await bench.until(RunStatus.RUNNING)
    assert await bench.predict(0, 2) == [0, 2]
    assert await bench.predict(4.0, version=NEIGHBOUR) == [8.0]


@pytest.mark.parametrize(
    ("kind", "error", "told"),
    [
        (1, ModelCrashedError, "its channel broke: the peer sent something that is no frame"),
        (2, ModelCrashedError, "its channel broke: it sent a RESULT that nobody asked for"),
        (3, ModelCrashedError, "its channel broke: it sent a PONG that nobody asked for"),
        (4, ModelCrashedError, "its channel broke: it sent a DRAIN that nobody asked for"),
        (5, ModelCrashedError, "its channel broke: it sent a READY that nobody asked for"),
        (7, ModelOutputInvalidError, "not a valid Arrow IPC stream"),
        (8, ModelFailedError, "the worker told no reason"),
        (9, ModelOutputInvalidError, "the Arrow body is compressed, which is not read here"),
        (10, ModelOutputInvalidError, "what the Arrow body stands for is larger than"),
    ],
)
async def test_h14_garbage_on_the_channel_costs_the_model_only(
    bench: Bench, models: Models, kind: int, error: type[Exception], told: str
) -> None:
    await run_beside_a_neighbour(bench, models, models.step(WRITING.format(marker="/none")))
    await attack(bench, kind, error, told)


async def test_h14_garbage_on_standard_output_is_only_logged(bench: Bench, models: Models) -> None:
    await bench.run(
        models.step(
            """
            import os, sys

            def process_data(input_data):
                sys.stdout.write("byop" * 10_000)
                os.write(1, b"byop\\x03" + b"\\x00\\xff" * 100)
                os.write(2, b"\\x1b[2J\\n")
                return {"y": input_data["x"] + len(sys.stdin.read())}
            """
        )
    )
    assert await bench.predict(1.0) == [1.0]
    assert await bench.predict(2.0) == [2.0]
    assert status_of(bench).restarts == 0


@pytest.mark.parametrize("kind", [-1, -2])
async def test_h15_model_that_closes_its_descriptors_fails_alone(
    bench: Bench, models: Models, kind: int
) -> None:
    await run_beside_a_neighbour(bench, models, models.step(WRITING.format(marker="/none")))
    await attack(bench, kind, ModelCrashedError, "model1")


async def test_h22_pickle_from_a_worker_is_never_loaded(
    bench: Bench, models: Models, tmp_path: Path
) -> None:
    marker = tmp_path / "loaded"
    source = WRITING.format(marker=str(marker))
    await run_beside_a_neighbour(bench, models, models.step(source))
    await attack(bench, 6, ModelOutputInvalidError, "not a valid Arrow IPC stream")
    assert not marker.exists()


def test_h22_pickle_to_a_worker_is_never_loaded(tmp_path: Path) -> None:
    marker = tmp_path / "loaded"
    schema = pa.schema([("x", pa.float64())])
    call = ModelCall(
        lambda arrays: arrays, signature=(schema, schema), masker=Masker({}), max_answer_bytes=1024
    )
    _, answer = call.answer(1, pickle.dumps(_Bomb(marker)))
    assert "not a valid Arrow IPC stream" in bytes(answer).decode()
    assert not marker.exists()
    pickle.loads(pickle.dumps(_Bomb(marker)))  # noqa: S301 - the bomb is one
    assert marker.exists()


def test_h22_no_module_of_byop_imports_pickle_or_what_uses_it() -> None:
    sources = list(Path(byop.__path__[0]).rglob("*.py"))
    assert len(sources) > 100
    found = {
        (source.name, name)
        for source in sources
        for name in _imported(ast.parse(source.read_text()))
        if name in UNSAFE_MODULES
    }
    assert found == set()
    assert not any("allow_pickle=True" in source.read_text() for source in sources)


class _Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return Path.mkdir, (self._marker,)


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module.split(".")[0]
