"""Models before and after a rewrite, by ONNX's own reference implementation or ONNX Runtime."""

from collections.abc import Callable, Mapping

import numpy as np
import onnx
import onnxruntime
from onnx.reference import ReferenceEvaluator

Run = Callable[[onnx.ModelProto, Mapping[str, np.ndarray]], list[np.ndarray]]


def parsed(text: str, opset: int = 21, **constants: np.ndarray) -> onnx.ModelProto:
    """A model of a graph in ONNX's text form, with these initializers."""
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}]>\n{text}')
    for name, value in constants.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(value), name))
    return model


def by_reference(model: onnx.ModelProto, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    with np.errstate(all="ignore"):
        results = ReferenceEvaluator(model).run(None, dict(feeds))
    assert isinstance(results, list)
    return [np.asarray(result) for result in results]


def by_onnxruntime(model: onnx.ModelProto, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """For what the reference implementation has wrong, or not at all."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return [np.asarray(result) for result in session.run(None, dict(feeds))]


def operators(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def assert_same_numbers(
    model: onnx.ModelProto,
    rewrite: Callable[[onnx.ModelProto], onnx.ModelProto | int],
    rtol: float = 1e-5,
    run: Run = by_reference,
    **feeds: np.ndarray,
) -> onnx.ModelProto:
    """Rewrite, hold the results to those of before, bit by bit where they are no floats; returns
    the rewritten model.
    """
    expected = run(model, feeds)
    found = rewrite(model)
    after = found if isinstance(found, onnx.ModelProto) else model
    onnx.checker.check_model(after, full_check=True)
    for right, ours in zip(expected, run(after, feeds), strict=True):
        assert (ours.dtype, ours.shape) == (right.dtype, right.shape)
        if right.dtype.kind == "f":
            np.testing.assert_allclose(ours, right, rtol=rtol, atol=1e-6)
        else:
            np.testing.assert_array_equal(ours, right)
    return after
