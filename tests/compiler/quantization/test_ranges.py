import numpy as np
import onnx
import pytest

from edgekiln.compiler.onnx_model.session import Session
from edgekiln.compiler.quantization import ranges
from edgekiln.compiler.quantization.ranges import BINS, Observer
from edgekiln.runtime.errors import InputError
from tests.compiler.float_models import make, residual

IMAGES = np.random.default_rng(1).normal(size=(50, 3, 32, 32)).astype(np.float32)
TENSORS = ["x", "a", "ra", "s", "p", "y"]


def batches(size):
    return ({"x": IMAGES[i : i + size]} for i in range(0, len(IMAGES), size))


def everything(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """All observed tensors for all images at once."""
    shown = ranges.with_outputs(model, TENSORS[1:])
    values = Session(shown, optimize=True)(IMAGES, TENSORS[1:])
    return {"x": IMAGES} | dict(zip(TENSORS[1:], values, strict=True))


@pytest.mark.parametrize("batch", [1, 7, 64])
def test_ranges_in_batches_are_the_ranges_of_all_samples(batch):
    found = Observer(residual(), TENSORS, batch=batch).ranges(batches)
    for name, array in everything(residual()).items():
        np.testing.assert_allclose(
            found[name], (min(array.min(), 0), max(array.max(), 0)), rtol=1e-5
        )


def test_histograms_count_every_value_once():
    observer = Observer(residual(), TENSORS, batch=16)
    histograms = observer.histograms(batches, observer.ranges(batches))
    for name, array in everything(residual()).items():
        histogram = histograms[name]
        assert histogram.counts.shape == (BINS,)
        assert histogram.counts.sum() + histogram.zeros == array.size, name
        assert abs(histogram.zeros - (array == 0).sum()) <= 2, name
        mean = (histogram.counts * histogram.centers).sum() / array.size
        assert mean == pytest.approx(array.mean(), abs=(histogram.high - histogram.low) / BINS)


def test_a_run_stays_within_the_memory_budget(monkeypatch):
    floats_a_sample = 4 * 8 * 32 * 32
    monkeypatch.setattr(ranges, "BUDGET_BYTES", 5 * 4 * floats_a_sample)
    sizes = []

    def watched(size):
        sizes.append(size)
        return batches(size)

    Observer(residual(), ["a", "ra", "c", "s"], batch=32).ranges(watched)
    assert sizes == [1, 5]  # one sample to measure, then what fits


def test_a_fixed_batch_is_kept():
    sizes = []

    def watched(size):
        sizes.append(size)
        return batches(size)

    Observer(residual(x="1, 3, 32, 32", y="1, 10"), TENSORS, batch=32).ranges(watched)
    assert sizes == [1]


def test_an_activation_that_overflows_is_named():
    model = make("e = Exp (x)\n y = Relu (e)", {}, x="N, 4", y="N, 4")
    huge = np.full((1, 4), 1e3, np.float32)
    with pytest.raises(InputError) as caught:
        Observer(model, ["x", "e"], batch=8).ranges(lambda _: [{"x": huge}])
    assert caught.value.message == ("activation 'e' is NaN or infinite on the calibration data")
    assert caught.value.hint == "check the weights, and the data's scale, mean and std"


def test_integers_are_not_observed():
    model = make("n = Shape (x)\n y = Reshape (x, n)", {}, x="N, 4", y="N, 4")
    assert set(
        Observer(model, ["x", "n", "y"], batch=8).ranges(
            lambda _: [{"x": np.ones((2, 4), np.float32)}]
        )
    ) == {"x", "y"}


def test_a_tensor_of_zeros_has_an_empty_histogram():
    model = make("y = Relu (x)", {}, x="N, 4", y="N, 4")
    observer = Observer(model, ["y"], batch=8)
    feed = lambda _: [{"x": -np.ones((2, 4), np.float32)}]  # noqa: E731
    found = observer.ranges(feed)
    assert found == {"y": (0.0, 0.0)}
    histogram = observer.histograms(feed, found)["y"]
    assert (histogram.zeros, histogram.counts.sum()) == (8, 0)


def test_an_infinity_that_no_softmax_is_to_leave_out_is_refused():
    model = make("l = Log (x)\ny = MatMul (l, w)", {"w": (8, 4)}, x="N, 8", y="N, 4")
    silent = np.zeros((8, 8), np.float32)
    with pytest.raises(InputError, match="activation 'l' is NaN or infinite"):
        Observer(model, ["x", "l", "y"], batch=8).ranges(lambda _: [{"x": silent}])
