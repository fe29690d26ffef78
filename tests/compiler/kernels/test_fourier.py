"""Fourier transforms of frames against numpy's in float64."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.kernels.epilogue.finish import ActivationFinish
from edgekiln.compiler.kernels.fourier import FourierKernel
from tests.compiler.kernels.floats import UNIT
from tests.compiler.kernels.harness import floats_everywhere, microkernel, quick, run
from tests.compiler.kernels.test_shared_code import FLOATS, same_code

few = settings(quick, max_examples=2)


@floats_everywhere
@pytest.mark.parametrize("size", [36, 64, 128, 400, 480, 512, 600])
@given(
    missing=st.integers(0, 33) | st.just(0), hop=st.integers(1, 200), images=st.integers(1, 2),
    paired=st.booleans(), rising=st.booleans(),
)  # fmt: skip
@few
def test_spectra(
    name: str, size: int, missing: int, hop: int, images: int, paired: bool, rising: bool
) -> None:
    count, frames = size - missing, 3
    rng = np.random.default_rng(size + missing)
    samples = count + (frames - 1) * hop + 1
    x = rng.normal(size=(images, samples)).astype(np.float32)
    window = np.hanning(count).astype(np.float32)
    y = Nhwc(n=images, h=1, w=frames, c=size + 2, dtype="float32")
    kernel = FourierKernel(
        images=images, samples=samples, frames=frames, hop=hop, size=size, window=window,
        paired=paired, rising=rising, y=y, finish=ActivationFinish(),
    )  # fmt: skip
    found = run(kernel.build(microkernel(name)), name, [x.reshape(-1)], y)
    found = found.reshape(images, frames, size + 2)
    begins = np.arange(frames)[:, None] * hop + np.arange(count)
    weighted = x[:, begins].astype(np.float64) * window
    expected = np.fft.rfft(weighted, size)
    expected = expected.conj() if rising else expected
    parts = (
        found.reshape(images, frames, -1, 2)
        if paired
        else np.stack(np.split(found, 2, axis=-1), axis=-1)
    )
    norm = np.sqrt((weighted**2).sum(-1))
    off = np.abs(parts[..., 0] + 1j * parts[..., 1] - expected).max(-1)
    # Each of log2(size) steps rounds what has the frame's norm about four times at random.
    assert (off <= 4 * np.log2(size) * UNIT * norm).all()


def test_a_window_is_not_in_the_code() -> None:
    kernels = [
        FourierKernel(
            images=1, samples=150, frames=2, hop=80, size=64, window=np.full(60, value, np.float32),
            paired=False, rising=False, y=Nhwc(n=1, h=1, w=2, c=66, dtype="float32"),
            finish=ActivationFinish(clip=(-value, value)),
        )
        for value in (0.5, 2.0)
    ]  # fmt: skip
    assert same_code(kernels, FLOATS)
