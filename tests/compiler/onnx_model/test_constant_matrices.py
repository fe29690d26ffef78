"""Transforms that are linear, at places and by factors that are constant."""

import numpy as np
import pytest

from edgekiln.compiler.onnx_model.equivalents import write_in_others
from tests.compiler.onnx_model.same_numbers import (
    assert_same_numbers,
    by_reference,
    operators,
    parsed,
)

rng = np.random.default_rng(8)


def values(*shape: int) -> np.ndarray:
    return rng.normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("axis", [1, 2, -2])
@pytest.mark.parametrize("length", [None, 5, 9])
@pytest.mark.parametrize(
    ("parts", "words"),
    [(1, ""), (1, "onesided = 1"), (2, ""), (2, "inverse = 1"), (2, "inverse = 1, onesided = 1")],
)
@pytest.mark.parametrize("opset", [17, 20])
def test_a_fourier_transform_is_a_product(
    opset: int, parts: int, words: str, length: int | None, axis: int
) -> None:
    """Of shorter and of longer sequences than there are values, too."""
    constants = {} if length is None else {"n": np.array(length)}
    operands = ["x", "n" if constants else ""]
    if opset == 20:
        constants["a"] = np.array(axis)
        operands.append("a")
    else:
        words = f"axis = {axis}{', ' if words else ''}{words}"
    while not operands[-1]:
        operands.pop()
    model = parsed(
        f"g (float[2, 6, 7, {parts}] x) => (float[A, B, C, D] y) "
        f"{{ y = DFT {f'<{words}>' if words else ''} ({', '.join(operands)}) }}",
        opset,
        **constants,
    )
    after = assert_same_numbers(model, write_in_others, rtol=1e-4, x=values(2, 6, 7, parts))
    assert "DFT" not in operators(after)


@pytest.mark.parametrize(
    "operands", ["x, step, , length", "x, step, window", "x, step, window, length"]
)
@pytest.mark.parametrize("step", [3, 8])
def test_a_short_time_transform_is_a_product_a_frame(operands: str, step: int) -> None:
    constants = {
        "step": np.array(step), "length": np.array(8), "window": np.hanning(8).astype(np.float32)
    }  # fmt: skip
    used = {name: value for name, value in constants.items() if name in operands.split(", ")}
    model = parsed(
        f"g (float[2, 30, 1] x) => (float[A, B, C, D] y) {{ y = STFT ({operands}) }}", 17, **used
    )
    x = values(2, 30, 1)
    write_in_others(model)
    assert "STFT" not in operators(model)
    (found,) = by_reference(model, {"x": x})
    weights = used.get("window", np.ones(8, np.float32))
    frames = np.stack([x[:, i : i + 8, 0] * weights for i in range(0, 30 - 7, step)], axis=1)
    expected = np.fft.rfft(frames)
    np.testing.assert_allclose(found[..., 0], expected.real, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found[..., 1], expected.imag, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("words", "blocks"),
    [
        ("", 4 * 3),
        ("strides = [2, 1]", 2 * 3),
        ("dilations = [2, 1]", 3 * 3),
        ("pads = [1, 0, 0, 2]", 5 * 5),
    ],
)
def test_patches_are_laid_back_where_they_were_cut_out(words: str, blocks: int) -> None:
    model = parsed(
        f"g (float[2, 12, {blocks}] x) => (float[2, 2, 5, 5] y) "
        f"{{ y = Col2Im {f'<{words}>' if words else ''} (x, image, block) }}",
        18,
        image=np.array([5, 5]),
        block=np.array([2, 3]),
    )
    after = assert_same_numbers(model, write_in_others, x=values(2, 12, blocks))
    assert "Col2Im" not in operators(after)


@pytest.mark.parametrize("exclusive", [0, 1])
@pytest.mark.parametrize("reverse", [0, 1])
@pytest.mark.parametrize("axis", [0, -1])
def test_a_running_product_is_a_product_a_step(axis: int, reverse: int, exclusive: int) -> None:
    model = parsed(
        "g (float[3, 4] x) => (float[3, 4] y) "
        f"{{ y = CumProd <exclusive = {exclusive}, reverse = {reverse}> (x, a) }}",
        26,
        a=np.array(axis),
    )
    assert "CumProd" not in operators(assert_same_numbers(model, write_in_others, x=values(3, 4)))
