"""The steps of LSTM and GRU bit by bit as ONNX Runtime computes their functions."""

import numpy as np
import pytest
from hypothesis import given

from edgekiln.compiler.kernels.gpu.table import built
from tests.compiler.kernels.harness import (
    EMULATED,
    GPUS,
    Array,
    emulated_quick,
    here,
    loaded,
    microkernel,
    quick,
)
from tests.compiler.kernels.recurrent_layers import Layer, layers


def run(layer: Layer, name: str) -> tuple[Array, Array]:
    """The int8 codes of all states, and what the last step leaves."""
    mk = microkernel(name)
    kernel = built(layer.kernel(mk.activation), mk)
    length, batch, width = layer.shape
    # Noise, so that what nobody writes shows.
    y = np.full(length * batch * width, 77, mk.activation)
    after = np.full(batch * width, np.nan, np.float32)
    shift = 128 if mk.activation == "uint8" else 0
    states = [
        (a.astype(np.int16) + shift).astype(mk.activation) if a.dtype == np.int8 else a
        for a in layer.states
    ]
    inputs = [np.ascontiguousarray(a).reshape(-1) for a in (layer.data, *states)]
    loaded(kernel, name, writes=2)(*inputs, *kernel.constants, y, after)
    codes = (y.astype(np.int16) - shift).astype(np.int8)
    return codes.reshape(layer.shape), after.reshape(batch, width)


def assert_same_bits(layer: Layer, name: str) -> None:
    for ours, theirs in zip(run(layer, name), layer.reference(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@here
@quick
@given(layer=layers())
def test_as_onnxruntime(name: str, layer: Layer) -> None:
    assert_same_bits(layer, name)


@pytest.mark.slow
@pytest.mark.parametrize("name", EMULATED)
@emulated_quick
@given(layer=layers(most=20))
def test_as_onnxruntime_on_other_chips(name: str, layer: Layer) -> None:
    assert_same_bits(layer, name)


@pytest.mark.parametrize("name", GPUS)
@quick
@given(layer=layers(most=150))
def test_as_onnxruntime_on_gpus(name: str, layer: Layer) -> None:
    assert_same_bits(layer, name)
