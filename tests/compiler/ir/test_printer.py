"""A person can read a graph."""

from pathlib import Path
from textwrap import dedent

import numpy as np

from edgekiln.compiler.ir.printer import printed
from tests.compiler import float_models
from tests.compiler.passes.graphs import before, lowered
from tests.compiler.qdq_models import QdqModel


def test_types_say_quantization_layout_border_and_place(tmp_path: Path) -> None:
    m = QdqModel()
    x = m.q(m.input("x", 1, 8, 5, 6))
    a = m.q(m.conv(x, 64, 8, 1, 1, out="a"))
    b = m.q(m.conv(x, 64, 8, 3, 3, out="b", pads=[1, 1, 1, 1], strides=[2, 2], dilations=[2, 2]))
    both = m.op("Concat", a, m.q(m.conv(x, 64, 8, 1, 1, out="c")), out="both", axis=1)
    graph = lowered(m.save(tmp_path / "m.onnx", m.q(m.op("Identity", both, out="i")), b), "uint8")
    assert printed(graph).splitlines()[:4] == [
        "input x: float32[1,8,5,6]",
        "x_q: uint8[1,8,5,6] (q - 131)·0.05 NHWC halo 1,1,1,0 = quantize(x)",
        "a_q: uint8[1,64,5,6] (q - 131)·0.05 NHWC in i_q from 0 = conv2d(x_q)",
        "    weight=int8[64,8,1,1] bias=int32[64] mult=float32[64] finish=0..255",
    ]


def test_functions_attributes_reasons_and_subgraphs_are_written_out(tmp_path: Path) -> None:
    model = float_models.make(
        "s = Sigmoid (x)\n h = Mul (s, half)\n c = CumSum <reverse = 1> (h, axis)\n"
        "y = Hardmax (c)\n",
        {},
        y="N, 3, 32, 32",
        constants={"half": np.array(0.5, np.float32), "axis": np.array(1)},
    )
    path = float_models.write(model, tmp_path / "m.onnx")
    assert printed(before("layout", path)) == dedent("""\
        input x: float32[1,3,32,32]
        h: float32[1,3,32,32] = function(x)
            function=Sigmoid(v0) → Mul(v1, 0.5)
        y: float32[1,3,32,32] = fallback(h)  # CumSum: {}; Hardmax: {}
            c: float32[1,3,32,32] = CumSum(h, axis: int64[])  # CumSum has no float kernel
                reverse=1
            y: float32[1,3,32,32] = Hardmax(c)  # Hardmax has no float kernel
        output y
        """).format("CumSum has no float kernel", "Hardmax has no float kernel")
