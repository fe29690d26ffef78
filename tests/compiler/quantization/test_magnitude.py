"""The magnitude of a spectrum stays float, and nothing else that looks like it."""

import pytest

from edgekiln.compiler.quantization import qdq
from edgekiln.compiler.quantization.prepare import prepare
from tests.compiler.float_models import make

SPECTRUM = """
    r = Conv <kernel_shape = [3, 3]> (x, w1)
    i = Conv <kernel_shape = [3, 3]> (x, w2)
    two = Constant <value_float = 2.0> ()
    rr = {square}
    ii = Mul (i, i)
    sum = Add (rr, ii)
    m = Sqrt (sum)
    p = GlobalAveragePool (m)
    f = Flatten (p)
    y = Gemm <transB = 1> (f, w3)
"""


@pytest.mark.parametrize(
    ("square", "floats"),
    [
        ("Mul (r, r)", {"rr", "ii", "sum", "m"}),
        ("Mul (r, i)", set()),
        ("Pow (r, two)", {"rr", "ii", "sum", "m"}),
    ],
)
def test_squares_their_sum_and_its_root(square: str, floats: set[str]) -> None:
    shapes = {"w1": (4, 3, 3, 3), "w2": (4, 3, 3, 3), "w3": (10, 4)}
    model = make(SPECTRUM.format(square=square), shapes, x="N, 3, 8, 8")
    ready = prepare(model)
    integer = {node.output[0] for node in qdq.quantized_nodes(ready, ())}
    made = {node.output[0] for node in ready.graph.node}
    assert {"r", "i", "p"} <= integer
    assert {"rr", "ii", "sum", "m"} & made - integer == floats & made
