"""Pools: maxima never see the border, averages follow the formula, whatever the window."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.kernels.gpu.table import built
from edgekiln.compiler.kernels.pool import AveragePoolKernel, MaxPoolKernel
from tests.compiler.kernels import harness
from tests.compiler.kernels.harness import Codes, everywhere, microkernel, quick, run
from tests.compiler.kernels.test_elementwise import random_codes


@st.composite
def windows(draw: Any, *, dilated: bool) -> dict[str, Any]:
    kernel = draw(st.sampled_from([(2, 2), (3, 3), (1, 3), (5, 2)]))
    dilations = draw(st.sampled_from([(1, 1), (2, 1), (2, 3)])) if dilated else (1, 1)
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    pads = tuple(draw(st.integers(0, kernel[axis % 2] - 1)) for axis in range(4))
    least = [max(1, reach[a] - pads[a] - pads[a + 2]) for a in (0, 1)]
    return {
        "kernel": kernel,
        "dilations": dilations,
        "pads": pads,
        "strides": draw(st.sampled_from([(1, 1), (2, 2), (3, 1)])),
        "shape": (
            draw(st.integers(1, 2)),
            draw(st.sampled_from([1, 3, 8, 17, 64, 100])),
            max(kernel[0], least[0]) + draw(st.integers(0, 5)),
            max(kernel[1], least[1]) + draw(st.integers(0, 5)),
        ),
        "seed": draw(st.integers(0, 2**16)),
    }


def output_like(x: Codes, window: dict[str, Any], scale: float, zero: int) -> Nhwc:
    size = [
        (x.values.shape[2 + a] + window["pads"][a] + window["pads"][a + 2]
         - (window["kernel"][a] - 1) * window["dilations"][a] - 1) // window["strides"][a] + 1
        for a in (0, 1)
    ]  # fmt: skip
    return Nhwc(
        n=x.tensor.n, h=size[0], w=size[1], c=x.tensor.c, dtype=x.tensor.dtype, scale=scale,
        zero_point=zero, halo=harness.halo(window["seed"] % 4, 0, 0, 0, 0),
    )  # fmt: skip


def patches(x: Codes, window: dict[str, Any], y: Nhwc, outside: int) -> Any:
    """(n, c, oh, ow, taps) codes, `outside` where a tap is not in the image."""
    top, left, bottom, right = window["pads"]
    padded = np.pad(
        x.values.astype(np.int32), ((0, 0), (0, 0), (top, bottom), (left, right)),
        constant_values=outside,
    )  # fmt: skip
    (kh, kw), (sh, sw), (dh, dw) = window["kernel"], window["strides"], window["dilations"]
    taps = [
        padded[
            :, :, i * dh : i * dh + (y.h - 1) * sh + 1 : sh,
            j * dw : j * dw + (y.w - 1) * sw + 1 : sw,
        ]
        for i in range(kh)
        for j in range(kw)
    ]  # fmt: skip
    return np.stack(taps, axis=-1)


@everywhere
@given(windows(dilated=True))
@quick
def test_max_pool_is_the_largest_code_inside_the_image(name: str, window: dict[str, Any]) -> None:
    check_max_pool(name, window)


@everywhere
@pytest.mark.parametrize("dilations", [(1, 1), (2, 1)])
@pytest.mark.parametrize("channels", [5, 40])
def test_a_large_window_is_visited_in_a_loop(
    name: str, channels: int, dilations: tuple[int, int]
) -> None:
    """Code for each of its 90 taps would be long; that for one over an image endless."""
    window = {
        "kernel": (10, 9), "dilations": dilations, "pads": (4, 2, 6, 5), "strides": (2, 1),
        "shape": (2, channels, 14, 8), "seed": 3,
    }  # fmt: skip
    check_max_pool(name, window)


def check_max_pool(name: str, window: dict[str, Any]) -> None:
    mk = microkernel(name)
    rng = np.random.default_rng(window["seed"])
    x = random_codes(rng, window["shape"], mk.activation, 0.1, (window["seed"] // 4) % 4)
    y = output_like(x, window, x.tensor.scale, x.tensor.zero_point)
    options = {key: window[key] for key in ("kernel", "strides", "dilations")}
    kernel = built(MaxPoolKernel(x=x.tensor, y=y, pads=window["pads"][:2], **options), mk)
    codes = patches(x, window, y, outside=-1000)
    if (codes.max(-1) == -1000).any():
        return  # a window without a single tap inside: ONNX says nothing about it
    memory = run(kernel, name, [x.memory()], y)
    harness.assert_codes(memory, Codes(y, codes.max(-1).astype(y.dtype)))


@everywhere
@given(windows(dilated=False), st.booleans())
@quick
def test_average_pool_follows_the_formula(
    name: str, window: dict[str, Any], include_padding: bool
) -> None:
    mk = microkernel(name)
    rng = np.random.default_rng(window["seed"])
    plain = random_codes(rng, window["shape"], mk.activation, 0.1, 0)
    halo = harness.halo((window["seed"] // 4) % 4, *window["pads"])
    x = Codes(Nhwc(**vars(plain.tensor) | {"halo": halo}), plain.values)
    y = output_like(x, window, float(np.float32(0.07)), int(rng.integers(0, 100)))
    inside = patches(Codes(x.tensor, np.ones_like(x.values)), window, y, 0).sum(-1)[0, 0]
    taps = int(np.prod(window["kernel"]))
    counts = np.full_like(inside, taps) if include_padding else np.maximum(inside, 1)
    clip = harness.bounds(y.dtype)
    kernel = built(AveragePoolKernel(
        x=x.tensor, y=y, kernel=window["kernel"], strides=window["strides"], counts=counts,
        pads=window["pads"][:2], clip=clip,
    ), mk)  # fmt: skip
    memory = run(kernel, name, [x.memory()], y)
    zero = x.tensor.zero_point
    sums = (patches(x, window, y, outside=zero) - zero).sum(-1)
    mult = np.float32(x.tensor.scale) / (np.float32(y.scale) * counts.astype(np.float32))
    expected = harness.requantized(sums.astype(np.float32) * mult, y, clip)
    harness.assert_codes(memory, Codes(y, expected))


@everywhere
@given(
    st.integers(0, 2**16), st.sampled_from([1, 3, 10, 16, 65]),
    st.sampled_from([(1, 1), (5, 3), (7, 7), (16, 16), (9, 60), (2, 257)]),
)  # fmt: skip
@quick
def test_a_window_of_the_whole_image_is_global_average_pool(
    name: str, seed: int, channels: int, size: tuple[int, int]
) -> None:
    mk = microkernel(name)
    rng = np.random.default_rng(seed)
    x = random_codes(rng, (2, channels, *size), mk.activation, 0.1, seed % 4)
    if seed % 3 == 0:  # the largest sums, of either sign
        x.values[...] = harness.bounds(mk.activation)[seed % 2]
    y = random_codes(rng, (2, channels, 1, 1), mk.activation, 0.02, 0).tensor
    clip = harness.bounds(y.dtype)
    kernel = built(AveragePoolKernel(
        x=x.tensor, y=y, kernel=size, strides=(1, 1), counts=np.array([[size[0] * size[1]]]),
        clip=clip,
    ), mk)  # fmt: skip
    memory = run(kernel, name, [x.memory()], y)
    sums = (x.values.astype(np.int32) - x.tensor.zero_point).sum((2, 3), keepdims=True)
    mult = np.float32(x.tensor.scale) / (np.float32(y.scale) * np.float32(size[0] * size[1]))
    expected = harness.requantized(sums.astype(np.float32) * mult, y, clip)
    harness.assert_codes(memory, Codes(y, expected))


@everywhere
@pytest.mark.parametrize("size", [(2, 3), (3, 4), (2, 5), (6, 6)])
def test_averages_in_the_middle_between_two_codes_go_to_the_even_one(
    name: str, size: tuple[int, int]
) -> None:
    """Between equal scales the average is that of the codes, and its half a half."""
    mk = microkernel(name)
    height, width = (7 * size[0], 5 * size[1])
    x = random_codes(np.random.default_rng(0), (1, 16, height, width), mk.activation, 0.043, 0)
    y = replace(x.tensor, h=7, w=5)
    clip = harness.bounds(y.dtype)
    taps = size[0] * size[1]
    kernel = built(
        AveragePoolKernel(
            x=x.tensor, y=y, kernel=size, strides=size, counts=np.full((7, 5), taps), clip=clip
        ),
        mk,
    )
    memory = run(kernel, name, [x.memory()], y)
    blocks = (x.values.astype(np.int64) - y.zero_point).reshape(1, 16, 7, size[0], 5, size[1])
    sums = blocks.sum((3, 5))
    assert (2 * sums % (2 * taps) == taps).any()
    expected = np.rint(sums / taps).astype(np.int64) + y.zero_point
    harness.assert_codes(memory, Codes(y, expected.clip(*clip).astype(y.dtype)))
