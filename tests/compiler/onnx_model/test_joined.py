"""What ONNX Runtime's optimizer joins becomes ONNX's operators again, with the same numbers."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from edgekiln.compiler.onnx_model import io, operators
from edgekiln.compiler.onnx_model.validate import validated
from edgekiln.runtime.errors import InputError, UnsupportedError
from tests.compiler.float_models import make, write
from tests.compiler.onnx_model.same_numbers import by_onnxruntime
from tests.compiler.onnx_model.same_numbers import operators as kinds

rng = np.random.default_rng(0)
FEW = (2, 3, 4, 6)  # shape
SIMPLE = "SimplifiedLayerNormalization"


def values(*shape: int) -> np.ndarray:
    return rng.normal(size=shape).astype(np.float32)


def joined(
    op: str, shapes: list[tuple[int, ...]], opset: int, results: int = 1,
    domain: str = "com.microsoft", axes: int = 0, **attributes: object,
) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:  # fmt: skip
    """A model of one such node, and its operands; an empty shape is one that is left out.

    Args:
        axes: of the results; 0 takes those of the first operand.
    """
    helper, real = onnx.helper, onnx.TensorProto.FLOAT
    feeds = {f"x{place}": values(*shape) for place, shape in enumerate(shapes) if shape}
    names = [f"x{place}" if shape else "" for place, shape in enumerate(shapes)]
    outputs = ["y", "", "", "total"] if results > 1 else ["y"]
    node = helper.make_node(op, names, outputs, domain=domain, **attributes)
    graph = helper.make_graph(
        [node], "g",
        [helper.make_tensor_value_info(name, real, x.shape) for name, x in feeds.items()],
        [helper.make_tensor_value_info(name, real, [None] * (axes or len(shapes[0])))
         for name in outputs if name],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8), feeds


CASES = [
    ("FusedConv", [(1, 4, 6, 6), (8, 2, 3, 3), (8,)],
     {"activation": "Relu", "group": 2, "kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    ("FusedConv", [(1, 4, 6, 6), (4, 4, 3, 3), (), (1, 4, 4, 4)],
     {"activation": "LeakyRelu", "activation_params": [0.3]}),
    ("FusedConv", [(1, 4, 6, 6), (4, 4, 1, 1)],
     {"activation": "Clip", "activation_params": [-0.5, 0.75]}),
    ("FusedConv", [(1, 4, 6, 6), (4, 4, 1, 1), (4,)],
     {"activation": "HardSigmoid", "activation_params": [0.3, 0.4]}),
    ("FusedGemm", [(3, 4), (5, 4), (5,)],
     {"activation": "LeakyRelu", "activation_alpha": 0.2, "alpha": 0.5, "transB": 1}),
    ("FusedGemm", [(4, 3), (4, 5), (3, 1)], {"activation": "Tanh", "beta": 2.0, "transA": 1}),
    ("FusedMatMul", [(2, 4, 3), (2, 4, 5)], {"transA": 1, "alpha": 0.25}),
    ("FusedMatMul", [FEW, FEW], {"transB": 1}),
    ("FusedMatMul", [(4, 2, 3, 6), FEW], {"transBatchA": 1, "transB": 1}),
    ("FusedMatMul", [(4, 2, 6, 3), (5, 2, 6, 4)],
     {"transBatchA": 1, "transA": 1, "transBatchB": 1, "transB": 1}),
    ("Gelu", [FEW], {}),
    ("BiasGelu", [FEW, (6,)], {}),
    ("FastGelu", [FEW], {}),
    ("FastGelu", [FEW, (6,)], {}),
    ("QuickGelu", [FEW], {}),
    ("QuickGelu", [FEW], {"alpha": 1.0}),
]  # fmt: skip
NORMS = [
    ("SkipLayerNormalization", [(2, 3, 6), (2, 3, 6), (6,), (6,), (6,)], 2, {"epsilon": 0.1}),
    ("SkipLayerNormalization", [(2, 3, 6), (1, 3, 6), (6,)], 1, {}),
    ("SkipSimplifiedLayerNormalization", [(2, 3, 6), (2, 3, 6), (6,), (6,)], 2, {"epsilon": 0.1}),
]


def assert_the_numbers_stay(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> None:
    expected = by_onnxruntime(model, feeds)
    made = validated(model, "here")
    assert {node.domain for node in made.graph.node} == {""}
    found = by_onnxruntime(made, feeds)
    assert [each.shape for each in found] == [each.shape for each in expected]
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found[-1], expected[-1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("opset", [11, 13, 20])
@pytest.mark.parametrize(("op", "shapes", "attributes"), CASES)
def test_a_joined_operator_becomes_those_it_was_made_of(op, shapes, attributes, opset) -> None:
    assert_the_numbers_stay(*joined(op, shapes, opset, **attributes))


@pytest.mark.parametrize("opset", [13, 18])
@pytest.mark.parametrize(("op", "shapes", "results", "attributes"), NORMS)
def test_a_normalized_sum_is_a_sum_and_a_normalization(
    op, shapes, results, attributes, opset
) -> None:
    assert_the_numbers_stay(*joined(op, shapes, opset, results, **attributes))


@pytest.mark.parametrize("axis", [-1, 1])
@pytest.mark.parametrize(("op", "opset"), [(SIMPLE, 13), (SIMPLE, 18), ("LayerNormalization", 13)])
def test_normalizations_in_the_domain_that_lacks_them_are_known(op, opset, axis) -> None:
    shape = (6,) if axis == -1 else (3, 6)
    assert_the_numbers_stay(*joined(op, [(2, 3, 6), shape], opset, domain="", axis=axis))


def test_a_vector_behind_a_transpose_is_multiplied_as_onnx_says() -> None:
    """ONNX Runtime 1.32 computes other numbers for its own node."""
    model, feeds = joined("FusedMatMul", [(2, 4, 3), (4,)], 17, axes=2, transA=1)
    (found,) = by_onnxruntime(validated(model, "here"), feeds)
    np.testing.assert_allclose(found, feeds["x0"].transpose(0, 2, 1) @ feeds["x1"], rtol=1e-5)


def optimized(level: str, path: Path) -> onnx.ModelProto:
    """A convolution with its ReLU, as ONNX Runtime's optimizer saves them."""
    model = make(
        "c = Conv <kernel_shape = [3, 3]> (x, w)\n y = Relu (c)", {"w": (8, 8, 3, 3)},
        x="1, 8, 8, 8", y="1, 8, 6, 6",
    )  # fmt: skip
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    options.optimized_model_filepath = str(path)
    onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return model


def test_what_the_optimizer_saves_is_the_model_again(tmp_path: Path) -> None:
    model = optimized("ORT_ENABLE_EXTENDED", tmp_path / "saved.onnx")
    made = io.load_model(tmp_path / "saved.onnx")
    assert kinds(made) == ["Conv", "Relu"]
    x = {"x": values(1, 8, 8, 8)}
    np.testing.assert_allclose(by_onnxruntime(made, x), by_onnxruntime(model, x), rtol=1e-5)


def test_a_model_for_one_machine_is_refused_with_what_to_do(tmp_path: Path) -> None:
    model, _ = joined("Conv", [(1, 8, 6, 6), (8, 8, 3, 3)], 17)
    model.graph.node[0].domain = "com.microsoft.nchwc"
    model.opset_import.append(onnx.helper.make_opsetid("com.microsoft.nchwc", 1))
    with pytest.raises(UnsupportedError) as caught:
        operators.check(io.load_model(write(model, tmp_path / "m.onnx")))
    assert "of com.microsoft.nchwc is unknown" in caught.value.message
    assert "ORT_ENABLE_BASIC" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("op", "domain", "attributes"),
    [
        ("LayerNormalization", "", {"axis": 3}),
        ("LayerNormalization", "", {"axis": -4}),
        (SIMPLE, "", {"axis": 7}),
        ("FusedGemm", "com.microsoft", {"activation": ["Relu", "Tanh"]}),
        ("FusedConv", "com.microsoft", {"activation": "Clip", "activation_params": 1.0}),
    ],
)
def test_attributes_that_say_nothing_are_refused_by_the_operators_name(
    op: str, domain: str, attributes: dict[str, object], tmp_path: Path
) -> None:
    shapes = {"FusedGemm": [(3, 4), (5, 4)], "FusedConv": [(1, 4, 6, 6), (4, 4, 1, 1)]}
    model, _ = joined(op, shapes.get(op, [(2, 3, 6), (6,)]), 14, domain=domain, **attributes)
    with pytest.raises((InputError, UnsupportedError)) as caught:
        operators.check(io.load_model(write(model, tmp_path / "m.onnx")))
    assert op in caught.value.message


@pytest.mark.parametrize(
    ("op", "domain", "shapes"),
    [
        ("LayerNormalization", "", [(2, 3, 6), (6,), (6,), (6,)]),
        ("Gelu", "com.microsoft", [FEW] * 2),
    ],
)
def test_more_operands_than_an_operator_has_are_refused(
    op: str, domain: str, shapes: list[tuple[int, ...]], tmp_path: Path
) -> None:
    model, _ = joined(op, shapes, 14, domain=domain)
    with pytest.raises((InputError, UnsupportedError)) as caught:
        operators.check(io.load_model(write(model, tmp_path / "m.onnx")))
    assert op in caught.value.message
