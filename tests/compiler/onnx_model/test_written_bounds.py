"""Functions written in several operators keep bounds that nothing near 0 reaches."""

import numpy as np
import pytest

from edgekiln.compiler.onnx_model.session import Session
from edgekiln.compiler.quantization.prepare import prepare
from tests.compiler.float_models import make

CONSTANTS = {"zero": 0, "three": 3, "six": 6, "twenty": 20, "below": -50}


@pytest.mark.parametrize("bound", ["y = Min (h, twenty)", "y = Clip (h, below, twenty)"])
def test_a_bound_far_out_stays(bound: str) -> None:
    """Near 0 it does nothing."""
    body = f"a = Add (x, three)\ng = Clip (a, zero, six)\nm = Mul (x, g)\nh = Div (m, six)\n{bound}"
    numbers = {name: np.array(value, np.float32) for name, value in CONSTANTS.items()}
    source = make(body, {}, x="1, 3, 8, 8", y="1, 3, 8, 8", constants=numbers)
    ready = prepare(source)
    kinds = {node.op_type for node in ready.graph.node}
    assert "HardSwish" in kinds
    assert {"Min", "Clip"} & kinds
    x = np.random.default_rng(0).normal(0, 100, (1, 3, 8, 8)).astype(np.float32)
    ours, theirs = (Session(each, optimize=False)({"x": x})[0] for each in (ready, source))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-4)
