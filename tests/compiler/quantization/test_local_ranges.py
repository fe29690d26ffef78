import numpy as np
import pytest

from edgekiln.compiler.quantization.calibration import METHODS
from edgekiln.compiler.quantization.local_ranges import best_ranges
from edgekiln.compiler.quantization.scheme import observed_tensors
from tests.compiler.float_models import make
from tests.compiler.quantization.schemes import bench

# One value in a thousand is huge, and the product that reads it does not look at its channel.
BODY = """
    a = Conv <kernel_shape = [1, 1]> (x, w1)
    b = Mul (a, large)
    c = Conv <kernel_shape = [3, 3]> (b, w2)
    p = GlobalAveragePool (c)
    f = Flatten (p)
    y = Gemm <transB = 1> (f, w3)
"""


@pytest.fixture(scope="module")
def net():
    unread = np.ones((8, 8, 3, 3), np.float32) * np.linspace(-0.1, 0.1, 9).reshape(3, 3)
    unread[:, 0] = 0.0
    constants = {
        "large": np.array([40, 1, 1, 1, 1, 1, 1, 1], np.float32).reshape(8, 1, 1),
        "w2": unread.astype(np.float32),
    }
    return bench(make(BODY, {"w1": (8, 3, 1, 1), "w3": (10, 8)}, constants=constants))


def test_a_range_is_one_of_the_methods(net):
    tensors = observed_tensors(net.model, net.scheme.nodes)
    found = net.work.calibration.by_methods(net.model, tensors, METHODS)
    best = best_ranges(net.model, tensors, net.work.calibration)
    assert best.keys() == found.keys()
    assert all(best[name] in ranges.values() for name, ranges in found.items())


def test_what_no_reader_looks_at_is_cut_off(net):
    tensors = observed_tensors(net.model, net.scheme.nodes)
    ranges = net.work.calibration.by_methods(net.model, ["b"], METHODS)["b"]
    widths = {method: high - low for method, (low, high) in ranges.items()}
    low, high = best_ranges(net.model, tensors, net.work.calibration)["b"]
    assert high - low == min(widths.values())
    assert high - low < widths["minmax"]
