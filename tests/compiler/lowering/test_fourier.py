"""Products with waves become fast transforms: convolutions over samples, DFT and STFT."""

from pathlib import Path

import numpy as np
import pytest

from edgekiln.runtime.runner import AotRunner
from tests.compiler.kernels.harness import Array
from tests.compiler.lowering.programs import parsed, program, reference


def waves(size: int, count: int, window: Array, *, rising: bool = False) -> Array:
    """(2 · bins, count): cosines, then sines."""
    angles = 2 * np.pi * np.outer(np.arange(size // 2 + 1), np.arange(count)) / size
    sines = np.sin(angles) if rising else -np.sin(angles)
    return (np.concatenate([np.cos(angles), sines]) * window).astype(np.float32)


def transforms(runner: AotRunner) -> int:
    return sum(layer.op == "fourier" for layer in runner.spec.layers)


def convolution(path: Path, weights: Array, samples: int, hop: int, behind: str = "") -> Path:
    bins, count = weights.shape
    frames = (samples - count) // hop + 1
    behind = behind or "y = Identity (c)"
    text = f"""
        m (float[2, 1, {samples}] x) => (float[2, {bins}, {frames}] y)
        {{ c = Conv <strides = [{hop}]> (x, w)  {behind} }}
    """
    return parsed(path, text, w=weights[:, None])


def sound(*shape: int) -> Array:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(
    ("size", "count", "hop"), [(480, 480, 320), (512, 400, 160), (64, 63, 7), (400, 400, 200)]
)
@pytest.mark.parametrize("order", ["parted", "paired", "rising"])
def test_a_convolution_with_waves(
    tmp_path: Path, size: int, count: int, hop: int, order: str
) -> None:
    weights = waves(size, count, np.hanning(count + 2)[1:-1], rising=order == "rising")
    if order == "paired":
        weights = weights.reshape(2, -1, count).transpose(1, 0, 2).reshape(-1, count)
    path, x = convolution(tmp_path, weights, 1000, hop, "y = Mul (c, c)"), sound(2, 1, 1000)
    runner = program(path)
    assert transforms(runner) == 1
    np.testing.assert_allclose(
        np.asarray(runner.run(x)[0], np.float64), reference(path, x)[0], rtol=1e-3, atol=2e-3
    )


@pytest.mark.parametrize("where", [(5, 100), (40, 3), (0, 0)])
def test_another_product_stays_one(tmp_path: Path, where: tuple[int, int]) -> None:
    """A weight that is off by a thousandth is somebody's choice."""
    weights = waves(128, 128, np.hanning(128) + 0.1)
    weights[where] += 1e-3
    path, x = convolution(tmp_path, weights, 400, 64), sound(2, 1, 400)
    runner = program(path)
    assert transforms(runner) == 0
    np.testing.assert_allclose(
        np.asarray(runner.run(x)[0], np.float64), reference(path, x)[0], atol=1e-4
    )


@pytest.mark.parametrize(
    ("body", "shape", "result"),
    [
        ("y = STFT (x, step, window, length)", "1, 1000, 1", "1, 13, 65, 2"),
        ("y = STFT (x, step, , length)", "1, 1000, 1", "1, 13, 65, 2"),
        ("y = DFT <axis = 1, onesided = 1> (x)", "3, 128, 1", "3, 65, 2"),
    ],
)
def test_spectra_of_onnx(tmp_path: Path, body: str, shape: str, result: str) -> None:
    numbers = {
        "step": np.array(72), "length": np.array(128),
        "window": np.hamming(128).astype(np.float32),
    }  # fmt: skip
    used = {name: value for name, value in numbers.items() if name in body}
    text = f"m (float[{shape}] x) => (float[{result}] y) {{ {body} }}"
    path, x = parsed(tmp_path, text, 17, **used), sound(*map(int, shape.split(",")))
    runner = program(path)
    assert transforms(runner) == 1
    np.testing.assert_allclose(
        np.asarray(runner.run(x)[0], np.float64), reference(path, x)[0], atol=1e-4
    )
