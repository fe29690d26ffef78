"""Dynamically quantized models have ONNX Runtime's integers bit for bit, by kernels of our own."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from edgekiln.compiler.build.recipe import Recipe
from edgekiln.compiler.build.resolve import begin_stage
from edgekiln.compiler.pipeline.stage import StageContext
from edgekiln.compiler.pipeline.store import Store
from edgekiln.compiler.stages.compile import CompileStage
from edgekiln.runtime.errors import ConfigError
from edgekiln.runtime.runner import AotRunner
from edgekiln.targets import profile
from tests.compiler import artifacts
from tests.compiler.dynamic_models import MICROSOFT, IntegerModel
from tests.compiler.lowering import programs

_HOST = profile.load("x86-64-v3")
# Programs whose codes have no sign, as the models' own, and others.
TARGETS = {"uint8": _HOST, "int8": replace(_HOST, isa="generic_s8")}
both_signs = pytest.mark.parametrize("sign", TARGETS)


def program(model: Path, sign: str) -> AotRunner:
    out = model.with_suffix(f".{sign}.lib")
    context = StageContext(target=TARGETS[sign], scratch=model.parent)
    CompileStage().run(artifacts.of(model), out, context)
    return AotRunner.open(out)


def assert_equal(ours: Sequence[Any], theirs: Sequence[Any]) -> None:
    assert len(ours) == len(theirs)
    for mine, right in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(mine, right)


def check_integers(model: IntegerModel, home: Path, sign: str) -> None:
    path = model.write(home / "m.onnx")
    runner = program(path, sign)
    # Each has a kernel of ours; none is left to TVM.
    assert {"fallback"}.isdisjoint(layer.op for layer in runner.spec.layers)
    ours = runner.run(*(model.inputs[each.name] for each in runner.inputs))
    for mine, node in zip(ours, model.nodes, strict=True):
        np.testing.assert_array_equal(mine, model.right(node), err_msg=str(node))


@pytest.mark.parametrize(
    ("sign", "seed"),
    [
        ("uint8", 0),
        ("int8", 1),
        *(pytest.param(s, n, marks=pytest.mark.slow) for s in TARGETS for n in range(2, 12)),
    ],
)
def test_random_products_and_convolutions_of_integers(sign: str, seed: int, tmp_path: Path) -> None:
    model = IntegerModel(seed)
    for _ in range(4):
        model.random_product()
        model.random_convolution()
    check_integers(model, tmp_path, sign)


def float_model(path: Path) -> Path:
    """An embedding, a padded convolution over the tokens with a Relu, and two dense layers."""
    rng = np.random.default_rng(5)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array(rng.normal(0.1, 0.4, shape).astype(np.float32), name)

    nodes = [
        helper.make_node("Gather", ["table", "x"], ["e"]),
        helper.make_node("Transpose", ["e"], ["t"], perm=[0, 2, 1]),
        helper.make_node("Unsqueeze", ["t", "two"], ["u"]),
        helper.make_node("Conv", ["u", "w", "wb"], ["c"], pads=[0, 1, 0, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Conv", ["r", "d"], ["dw"], pads=[0, 2, 0, 0], group=12),
        helper.make_node("Squeeze", ["dw", "two"], ["s"]),
        helper.make_node("Transpose", ["s"], ["v"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["v", "m"], ["a"]),
        helper.make_node("Add", ["a", "mb"], ["b"]),
        helper.make_node("Transpose", ["b"], ["bt"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["b", "bt"], ["y"]),
    ]
    constants = [
        weight("table", 20, 8), weight("w", 12, 8, 1, 3), weight("wb", 12),
        weight("d", 12, 1, 1, 3), weight("m", 12, 6), weight("mb", 6),
        numpy_helper.from_array(np.array([2]), "two"),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.INT64, [1, 9])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 9, 9])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


OPTIONS: dict[str, dict[str, Any]] = {
    "unsigned": {"weight_type": QuantType.QUInt8},
    "unsigned, a channel each, products of activations": {
        "weight_type": QuantType.QUInt8, "per_channel": True,
        "extra_options": {"MatMulConstBOnly": False},
    },
    "signed": {"weight_type": QuantType.QInt8},
    "signed, a channel each": {"weight_type": QuantType.QInt8, "per_channel": True},
    "signed, reduced": {"weight_type": QuantType.QInt8, "reduce_range": True},
}  # fmt: skip


_QUICK = [("uint8", "unsigned"), ("int8", "unsigned, a channel each, products of activations")]
_SLOW = [(sign, how) for sign in TARGETS for how in OPTIONS if (sign, how) not in _QUICK]


@pytest.mark.parametrize(
    ("sign", "how"), [*_QUICK, *(pytest.param(*each, marks=pytest.mark.slow) for each in _SLOW)]
)
def test_a_model_of_quantize_dynamic_is_computed_as_by_onnx_runtime(
    sign: str, how: str, tmp_path: Path
) -> None:
    path = tmp_path / "m.onnx"
    quantize_dynamic(float_model(tmp_path / "float.onnx"), path, **OPTIONS[how])
    runner = program(path, sign)
    ops = [layer.op for layer in runner.spec.layers]
    products = 1 + ("products" in how)  # by weights that are known, and by others
    assert ops.count("finish_sums") == 2 + products, ops
    for seed in range(3):
        x = np.random.default_rng(seed).integers(0, 20, (1, 9))
        (ours,) = runner.run(x)
        (theirs,) = programs.reference(path, x)
        # The products of floats add up in another order.
        assert abs(ours - theirs).max() <= 1e-5 * abs(theirs).max()


@both_signs
def test_products_that_onnx_runtime_joined_have_its_bits(sign: str, tmp_path: Path) -> None:
    model, shapes = IntegerModel(3), {}
    for kind in ("uint8", "int8"):
        for columns in ((), (19,)):
            for biased in (False, True):
                floats = model.rng.normal(0, 2, (5, 37)).astype(np.float32)
                scale = (model.rng.random(columns) * 0.01 + 0.001).astype(np.float32)
                right = [
                    model.operand("b", model.bytes_of((37, 19), kind), constant=True),
                    model.operand("s", np.asarray(scale), constant=True),
                ]
                zero = model.operand("z", model.bytes_of(columns, kind), constant=True)
                bias = [""]
                if biased:
                    values = model.rng.normal(0, 1, 19).astype(np.float32)
                    bias = [model.operand("bias", values, constant=True)]
                shapes[f"y{len(model.nodes)}"] = (5, 19)
                a = model.operand("x", floats, constant=False)
                model.node("DynamicQuantizeMatMul", [a, *right, zero, *bias], MICROSOFT)
                shapes[f"y{len(model.nodes)}"] = (5, 19)
                left = [
                    model.operand("q", model.bytes_of((5, 37), "uint8"), constant=False),
                    right[0],
                    model.operand("qs", np.array(0.02, np.float32), constant=False),
                    right[1],
                    model.operand("qz", np.array(131, np.uint8), constant=False),
                ]
                model.node("MatMulIntegerToFloat", [*left, zero, *bias], MICROSOFT)
    path = model.write(tmp_path / "m.onnx", shapes)
    runner = program(path, sign)
    ours = runner.run(*(model.inputs[each.name] for each in runner.inputs))
    theirs = programs.reference(path, *model.inputs.values())
    assert_equal(ours, theirs)


@both_signs
def test_codes_that_are_outputs_or_others_operands_are_the_models_bytes(
    sign: str, tmp_path: Path
) -> None:
    path = programs.parsed(
        tmp_path,
        """g (float[2, 3, 4, 5] x) => (uint8[2, 3, 4, 5] q, float scale, uint8 zero,
                                       float[2, 3, 4, 5] real, int32[2, 6, 3, 4] y)
        {
            q, scale, zero = DynamicQuantizeLinear (x)
            real = Cast <to: int = 1> (q)
            y = ConvInteger <pads: ints = [0, 1, 1, 0]> (q, w, zero)
        }""",
        w=np.random.default_rng(0).integers(-128, 128, (6, 3, 3, 3)).astype(np.int8),
    )
    x = programs.images(2, 3, 4, 5)
    assert_equal(program(path, sign).run(x), programs.reference(path, x))


def test_quantize_says_what_to_do_with_a_model_that_is_quantized(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    quantize_dynamic(float_model(tmp_path / "float.onnx"), path)
    with pytest.raises(ConfigError) as caught:
        begin_stage(Store(tmp_path / "store"), "quantize", str(path), Recipe())
    assert caught.value.message == f"quantize: {path} is quantized already"
    assert "edgekiln compile" in caught.value.hint
    kind = begin_stage(Store(tmp_path / "store"), "compile", str(path), Recipe()).kind
    assert kind == "onnx-int8"
