"""What a concatenation joins has one range, unless that would cost bits or undo an activation."""

import numpy as np

from edgekiln.compiler.quantization import qdq
from edgekiln.compiler.quantization.joint import joint_ranges
from edgekiln.compiler.quantization.ranges import Range
from tests.compiler.float_models import make

BRANCHES = """
    a = Conv (x, w1)
    ra = Relu (a)
    b = Conv (x, w2)
    {activation}
    c = Concat <axis = 1> (ra, rb)
    m = MaxPool <kernel_shape = [2, 2]> (c)
    d = Conv (m, w3)
    y = Flatten (d)
"""
WEIGHTS = {"w1": (4, 3, 1, 1), "w2": (4, 3, 1, 1), "w3": (5, 8, 1, 1)}


def joined(activation: str, ranges: dict[str, Range]) -> dict[str, Range]:
    bounds = {"low": np.float32(0), "six": np.float32(6)}
    body = BRANCHES.format(activation=activation)
    model = make(body, WEIGHTS, x="1, 3, 2, 2", y="1, 5", constants=bounds)
    return joint_ranges(model, qdq.quantized_nodes(model, ()), ranges)


def branches(ra: Range, rb: Range) -> dict[str, Range]:
    whole = (min(ra[0], rb[0]), max(ra[1], rb[1]))
    return {"x": (-1.0, 1.0), "ra": ra, "rb": rb, "c": whole, "m": whole, "d": (-9.0, 9.0)}


def test_the_operands_of_a_concat_and_what_only_selects_share_one_range():
    ranges = joined("rb = Relu (b)", branches((0.0, 3.0), (0.0, 5.0)))
    assert {ranges[name] for name in ("ra", "rb", "c", "m")} == {(0.0, 5.0)}
    assert (ranges["x"], ranges["d"]) == ((-1.0, 1.0), (-9.0, 9.0))


def test_an_operand_much_smaller_than_the_result_keeps_its_bits():
    ranges = joined("rb = Relu (b)", branches((0.0, 1.0), (0.0, 5.0)))
    assert ranges["ra"] == (0.0, 1.0)
    assert ranges["rb"] == ranges["c"] == (0.0, 5.0)


def test_no_operand_gets_a_range_that_undoes_its_relu():
    ranges = joined("rb = Identity (b)", branches((0.0, 3.0), (-2.0, 5.0)))
    assert ranges["ra"] == (0.0, 3.0)


def test_no_operand_gets_a_range_beyond_its_clip():
    ranges = joined("rb = Clip (b, low, six)", branches((0.0, 8.0), (0.0, 6.0)))
    assert ranges["ra"] == ranges["c"] == (0.0, 8.0)
    assert ranges["rb"] == (0.0, 6.0)
