import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from byop.domain.deployments import ModelResources
from byop.domain.models import Framework, Signature
from byop.engine.worker_onnx import OnnxModel
from byop.errors import ModelInputRejectedError, ModelOutputInvalidError
from byop.ports.engine import ModelLaunch
from byop.tables.arrays import to_arrays
from tests.engine.conftest import DEPLOYMENT, MODEL, Bench, deployment
from tests.engine.onnx_models import save_dense, save_total, save_two_inputs, save_words


@pytest.fixture
def dense(tmp_path: Path) -> OnnxModel:
    return OnnxModel(save_dense(tmp_path / "dense.onnx"), threads=1)


def test_schemas_come_from_the_model(dense: OnnxModel) -> None:
    assert dense.inputs == pa.schema([("tensor", pa.list_(pa.float32()))])
    assert dense.outputs == pa.schema([("dense_1", pa.list_(pa.float32()))])


def test_rows_are_predicted(dense: OnnxModel) -> None:
    found = dense.predict({"tensor": np.ones((3, 29), np.float32)})
    assert found["dense_1"].tolist() == [[14.5]] * 3


@pytest.mark.parametrize(
    ("tensor", "told"),
    [
        (None, "input 'tensor' is missing"),
        (np.ones((2, 29)), "must be float32, got float64"),
        (np.ones((2, 28), np.float32), r"must have shape \[29\], got \[28\] per row"),
        (np.ones(2, np.float32), r"must have shape \[29\], got \[\] per row"),
        (
            to_arrays(pa.record_batch({"t": pa.array([[1.0], [1.0, 2.0]])}))["t"],
            "must be rectangular",
        ),
    ],
)
def test_input_that_is_no_rectangular_tensor_of_one_dtype_is_refused(
    dense: OnnxModel, tensor: np.ndarray | None, told: str
) -> None:
    given = {} if tensor is None else {"tensor": tensor}
    with pytest.raises(ModelInputRejectedError, match=told):
        dense.predict(given)


def test_no_rows_give_no_rows(dense: OnnxModel) -> None:
    assert dense.predict({"tensor": np.empty(0, np.float32)})["dense_1"].shape == (0, 1)


def test_inputs_of_different_row_counts_are_refused(tmp_path: Path) -> None:
    model = OnnxModel(save_two_inputs(tmp_path / "add.onnx"), threads=1)
    assert model.predict({"a": np.array([2**60]), "b": np.array([1])})["sum"].tolist() == [
        2**60 + 1
    ]
    with pytest.raises(ModelInputRejectedError, match="'a' has 2, 'b' has 3"):
        model.predict({"a": np.zeros(2, np.int64), "b": np.zeros(3, np.int64)})


def test_output_of_another_row_count_is_refused(tmp_path: Path) -> None:
    model = OnnxModel(save_total(tmp_path / "total.onnx"), threads=1)
    with pytest.raises(ModelOutputInvalidError, match=r"'total' must have 3 rows .* got 1"):
        model.predict({"x": np.ones((3, 2), np.float32)})


def test_text_goes_through(tmp_path: Path) -> None:
    model = OnnxModel(save_words(tmp_path / "words.onnx"), threads=1)
    assert model.inputs == pa.schema([("text", pa.string())])
    assert model.predict({"text": np.array(["a", "b"], object)})["same"].tolist() == ["a", "b"]


async def test_onnx_model_runs_in_a_worker(bench: Bench, tmp_path: Path) -> None:
    path = save_dense(tmp_path / "dense.onnx")
    launch = ModelLaunch(
        model_version_id=MODEL,
        name="dense",
        version="v",
        sha="s",
        framework=Framework.ONNX,
        path=path,
        python=Path(sys.executable),
        signature=Signature(),
        resources=ModelResources(cpus=0.5),
    )
    await bench.run(launch)
    signature = bench.engine.signature(DEPLOYMENT, MODEL)
    assert signature is not None
    assert signature.inputs == pa.schema([("tensor", pa.list_(pa.float32()))])
    rows = pa.array([[1.0] * 29, [2.0] * 29], pa.list_(pa.float32()))
    batch = pa.record_batch({"tensor": rows})
    answer = await bench.engine.predict(DEPLOYMENT, MODEL, batch, deadline_s=60)
    assert answer.outputs.schema == pa.schema([("dense_1", pa.list_(pa.float32()))])
    assert answer.outputs.column("dense_1").to_pylist() == [[14.5], [29.0]]
    assert answer.elapsed_ns > 0
    ragged = pa.record_batch({"tensor": pa.array([[1.0], [1.0, 2.0]], pa.list_(pa.float32()))})
    with pytest.raises(ModelInputRejectedError, match="rectangular"):
        await bench.engine.predict(DEPLOYMENT, MODEL, ragged, deadline_s=60)


async def test_file_that_is_no_onnx_model_fails_to_load(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"no model")
    launch = ModelLaunch(
        MODEL, "broken", "v", "s", Framework.ONNX, path, Path(sys.executable), Signature(),
        ModelResources(),
    )  # fmt: skip
    bench.engine.start(deployment(launch))
    told = await bench.until_true(lambda found: found.replicas[0].reason is not None)
    assert "InvalidProtobuf" in str(told.replicas[0].reason)
