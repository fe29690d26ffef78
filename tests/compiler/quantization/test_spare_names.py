import numpy as np
import onnx
import pytest

from edgekiln.compiler.onnx_model.session import Session
from edgekiln.compiler.quantization import qdq, spare_names
from edgekiln.compiler.quantization.prepare import prepare
from edgekiln.compiler.quantization.ranges import Observer
from edgekiln.compiler.quantization.sqnr import Sqnr
from tests.compiler.float_models import make

CONVS = """
    {a} = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x, w, b)
    {r} = Relu ({a})
    {c} = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> ({r}, v, b)
    {g} = GlobalAveragePool ({c})
    {y} = Flatten ({g})
"""


def model(**names: str) -> onnx.ModelProto:
    plain = make(
        CONVS.format(a="a", r="r", c="c", g="g", y="y"),
        {"w": (4, 3, 3, 3), "v": (4, 4, 3, 3), "b": (4,)},
        x="N, 3, 8, 8",
        y="N, 4",
    )
    spare_names.rename(plain, names)
    for node in plain.graph.node:
        node.name = node.output[0]
    return plain


@pytest.mark.parametrize(
    "names",
    [
        {"a": "x_QuantizeLinear_Output", "r": "x_DequantizeLinear_Output"},
        {"c": "w_quantized", "g": "x_scale"},
        {"y": "x_zero_point", "g": "x_zero_point_scale"},
        {"a": "b0", "c": "b1"},
        {"a": "b_quantized", "r": "b_quantized_scale", "c": "v_scale"},
    ],
    ids=lambda names: " ".join(names.values()),
)
def test_tensors_may_be_called_as_the_quantizer_calls_its_own(names):
    real = model(**names)
    ready = prepare(real)
    x = np.random.default_rng(1).normal(size=(16, 3, 8, 8)).astype(np.float32)
    nodes = qdq.quantized_nodes(ready, ())
    tensors = qdq.observed_tensors(nodes, [w.name for w in ready.graph.initializer])
    ranges = Observer(ready, tensors, batch=16).ranges(lambda size: [{"x": x[:size]}])
    quantized = qdq.quantize(ready, nodes, ranges)
    assert [v.name for v in quantized.graph.output] == [v.name for v in real.graph.output]
    assert [v.name for v in quantized.graph.input] == ["x"]
    sqnr = Sqnr()
    sqnr.add(Session(real, optimize=True)(x)[0], Session(quantized, optimize=False)(x)[0])
    assert sqnr.db > 30


def test_names_that_do_not_collide_stay():
    plain = model(a="other_scale", c="b0")
    before = plain.SerializeToString()
    assert spare_names.spare(plain) == {}
    assert plain.SerializeToString() == before


def test_renaming_can_be_undone():
    plain = model(g="x_scale", c="x_scale_quantized")
    before = plain.SerializeToString()
    renamed = spare_names.spare(plain)
    assert set(renamed.values()) == {"x", "x_scale"}
    spare_names.rename(plain, renamed)
    assert plain.SerializeToString() == before
