"""Camera frames: sizes as Pillow has them, colors by the standard, tables a channel."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.kernels.frames import ChannelLookupKernel, ResampleKernel, YuvKernel
from edgekiln.compiler.onnx_model.ends.resampling import Resampling, bilinear
from edgekiln.compiler.onnx_model.ends.yuv import YuvFormat, YuvFrame
from tests.compiler.kernels.harness import EMULATED, Array, Codes, interior, microkernel, quick, run

SIZES = st.integers(1, 40)
# They differ in the width of vectors alone.
some = pytest.mark.parametrize(
    "name", ["x86_avx2", *(pytest.param(name, marks=pytest.mark.slow) for name in EMULATED)]
)


@some
@quick
@given(
    size=st.tuples(SIZES, SIZES), after=SIZES, axis=st.sampled_from([0, 1]),
    channels=st.sampled_from([1, 3]), dtype=st.sampled_from(["uint8", "int8"]),
    seed=st.integers(0, 2**16),
)  # fmt: skip
def test_pictures_are_resized_to_the_very_pixels_of_pillow(
    name: str, size: tuple[int, int], after: int, axis: int, channels: int, dtype: str, seed: int
) -> None:
    """Along one axis: which one Pillow takes first depends on its version."""
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, channels)).astype(np.uint8)
    wanted_size = (after, size[1]) if axis == 0 else (size[0], after)
    picture = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
    wanted = np.asarray(picture.resize(wanted_size[::-1], Image.Resampling.BILINEAR))
    outer, inner = (1, size[1] * channels) if axis == 0 else (size[0], channels)
    # Signed codes begin at -128.
    low = np.iinfo(dtype).min
    x = Nhwc(n=1, h=1, w=1, c=pixels.size, dtype="uint8")
    y = Nhwc(n=1, h=1, w=1, c=wanted.size, dtype=dtype, zero_point=low)
    kernel = ResampleKernel(
        outer=outer, before=size[axis], inner=inner, by=bilinear(size[axis], after), x=x, y=y
    )
    memory = run(kernel.build(microkernel(name)), name, [pixels.reshape(-1)], y)
    np.testing.assert_array_equal(memory.astype(int) - low, wanted.reshape(-1))


def rgb(luma: Array, u: Array, v: Array) -> Array:
    """ITU-R BT.601 in studio range, in real numbers: (…,) → (…, 3)."""
    y = 255 / 219 * np.maximum(luma.astype(float) - 16, 0)
    cb, cr = (255 / 224 * (each.astype(float) - 128) for each in (u, v))
    red, blue = y + 1.402 * cr, y + 1.772 * cb
    green = y - (0.114 * 1.772 / 0.587) * cb - (0.299 * 1.402 / 0.587) * cr
    return np.stack([red, green, blue], axis=-1).clip(0, 255)


@some
@pytest.mark.parametrize("format_", ["nv12", "yuyv"])
@quick
@given(half=st.tuples(st.integers(1, 9), st.integers(1, 9)), seed=st.integers(0, 2**16))
def test_frames_in_yuv_become_the_colors_of_the_standard(
    name: str, format_: YuvFormat, half: tuple[int, int], seed: int
) -> None:
    frame = YuvFrame(format=format_, height=2 * half[0], width=2 * half[1])
    x = np.random.default_rng(seed).integers(0, 256, (2, *frame.shape)).astype(np.uint8)
    (rows, columns), (c_rows, u_at, v_at) = frame.luma, frame.chroma
    luma = x[:, rows[:, None], columns]
    u, v = (x[:, c_rows[:, None], at] for at in (u_at, v_at))
    y = Nhwc(n=2, h=frame.height, w=frame.width, c=3, dtype="uint8")
    kernel = YuvKernel(n=2, frame=frame, channels=3, y=y)
    found = run(kernel.build(microkernel(name)), name, [x.reshape(-1)], y)
    gap = found.reshape(2, frame.height, frame.width, 3) - rgb(luma, u, v)
    assert np.abs(gap).max() < 0.8  # rounded, by the factors that OpenCV has
    gray = replace(y, c=1)
    kernel = YuvKernel(n=2, frame=frame, channels=1, y=gray)
    found = run(kernel.build(microkernel(name)), name, [x.reshape(-1)], gray)
    none = np.full_like(u, 128)
    gap = found.reshape(luma.shape) - rgb(luma, none, none)[..., 0]
    assert np.abs(gap).max() < 0.8


@some
@quick
@given(
    shape=st.tuples(st.integers(1, 2), st.integers(1, 5), st.integers(1, 9), st.integers(1, 8)),
    dtype=st.sampled_from(["uint8", "int8"]), seed=st.integers(0, 2**16),
)  # fmt: skip
def test_each_channel_has_a_table_of_its_own(
    name: str, shape: tuple[int, ...], dtype: str, seed: int
) -> None:
    n, h, w, c = shape
    rng = np.random.default_rng(seed)
    table = rng.integers(0, 256, (c, 256)).astype(np.uint8)
    low = np.iinfo(dtype).min
    codes = rng.integers(low, low + 256, (n, c, h, w)).astype(dtype)
    x = Codes(tensor=Nhwc(n=n, h=h, w=w, c=c, dtype=dtype, zero_point=0), values=codes)
    y = Nhwc(n=n, h=h, w=w, c=c, dtype="uint8")
    kernel = ChannelLookupKernel(x=x.tensor, y=y, table=table)
    memory = run(kernel.build(microkernel(name)), name, [x.memory()], y)
    wanted = table[np.arange(c), codes.transpose(0, 2, 3, 1).astype(int) - low]
    np.testing.assert_array_equal(interior(y, memory), wanted)


@given(before=SIZES, after=SIZES)
def test_weights_of_a_resizing_lie_inside_and_add_up(before: int, after: int) -> None:
    by: Resampling = bilinear(before, after)
    assert by.places.min() >= 0
    assert by.places.max() < before
    assert np.abs(by.weights.sum(axis=1) - (1 << 22)).max() <= by.weights.shape[1]
