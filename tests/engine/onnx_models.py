"""Tiny ONNX models, made when a test needs one."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 8


def save_dense(path: Path, *, weights: float = 0.5) -> Path:
    """Write a model of input ``tensor`` [rows, 29] to output ``dense_1`` [rows, 1], float32."""
    matrix = numpy_helper.from_array(np.full((29, 1), weights, np.float32), "weights")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["tensor", "weights"], ["dense_1"])],
        "dense",
        [helper.make_tensor_value_info("tensor", TensorProto.FLOAT, [None, 29])],
        [helper.make_tensor_value_info("dense_1", TensorProto.FLOAT, [None, 1])],
        [matrix],
    )
    return save(graph, path)


def save_two_inputs(path: Path) -> Path:
    """Write a model that adds ``a`` and ``b``, int64 of one value per row."""
    graph = helper.make_graph(
        [helper.make_node("Add", ["a", "b"], ["sum"])],
        "add",
        [helper.make_tensor_value_info(name, TensorProto.INT64, [None]) for name in "ab"],
        [helper.make_tensor_value_info("sum", TensorProto.INT64, [None])],
    )
    return save(graph, path)


def save_total(path: Path) -> Path:
    """Write a model whose output has one row, however many came in."""
    graph = helper.make_graph(
        [helper.make_node("ReduceSum", ["x"], ["total"], keepdims=1)],
        "total",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 2])],
        [helper.make_tensor_value_info("total", TensorProto.FLOAT, [1, 1])],
    )
    return save(graph, path)


def save_words(path: Path) -> Path:
    """Write a model that gives its text back."""
    graph = helper.make_graph(
        [helper.make_node("Identity", ["text"], ["same"])],
        "words",
        [helper.make_tensor_value_info("text", TensorProto.STRING, [None])],
        [helper.make_tensor_value_info("same", TensorProto.STRING, [None])],
    )
    return save(graph, path)


def save(graph: onnx.GraphProto, path: Path) -> Path:
    """Write the graph as a checked model file."""
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path
