"""A small ONNX model of the documents' shape: ``tensor``, 29 float32, gives ``dense_1``."""

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import ArrayLike, NDArray
from onnx import TensorProto, helper, numpy_helper

WIDTH = 29
_RANDOM = np.random.default_rng(20230320)
WEIGHTS = _RANDOM.normal(size=(WIDTH, 1)).astype(np.float32)
BIAS = np.array([-1.5], np.float32)


def write_fraud_model(path: Path) -> Path:
    """Write the model: one dense layer with a sigmoid."""
    graph = helper.make_graph(
        [
            helper.make_node("Gemm", ["tensor", "weights", "bias"], ["logit"]),
            helper.make_node("Sigmoid", ["logit"], ["dense_1"]),
        ],
        "fraud",
        [helper.make_tensor_value_info("tensor", TensorProto.FLOAT, ["rows", WIDTH])],
        [helper.make_tensor_value_info("dense_1", TensorProto.FLOAT, ["rows", 1])],
        [
            numpy_helper.from_array(WEIGHTS, "weights"),
            numpy_helper.from_array(BIAS, "bias"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


def expected_scores(rows: ArrayLike) -> NDArray[np.float32]:
    """Return what the model answers, one number per row."""
    logit = np.asarray(rows, np.float32) @ WEIGHTS + BIAS
    scores: NDArray[np.float32] = (1 / (1 + np.exp(-logit))).astype(np.float32)[:, 0]
    return scores


def random_rows(count: int) -> NDArray[np.float32]:
    """Return rows that are the same in every run."""
    return np.random.default_rng(count).normal(size=(count, WIDTH)).astype(np.float32)
