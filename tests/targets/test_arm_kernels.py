"""Kernels on Arm's micro-kernels agree with ONNX Runtime, bit by bit, under QEMU."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.compiler.kernels.convolutions import Case, cases
from tests.compiler.kernels.harness import (
    emulated_quick,
    emulated_thorough,
    microkernel,
    on_arm,
)
from tests.compiler.kernels.test_conv2d import (
    check_conv,
    check_depthwise,
    check_float_result,
    check_residual,
    check_tile,
)
from tests.compiler.kernels.test_matmul import PRODUCTS, check_exact
from tests.compiler.kernels.test_rows import (
    ROWS,
    SEEDS,
    SIZES,
    check_layer_normalization,
    check_softmax,
)

Check = Callable[[str, Case], None]


@on_arm
@given(cases())
@emulated_quick
def test_convolution_agrees_with_onnx_runtime(name: str, case: Case) -> None:
    check_conv(name, case)


@on_arm
@pytest.mark.parametrize(("width", "kernel", "stride"), [(13, 3, 1), (9, 1, 2), (40, 5, 2)])
def test_an_image_of_one_row_is_written_once_whatever_its_channels(
    name: str, width: int, kernel: int, stride: int
) -> None:
    """A row is one item, and so many channels are several blocks: sounds are such images."""
    case = Case(
        seed=4, n=1, size=(1, width), groups=1, channels=(8, 40), kernel=(1, kernel),
        strides=(1, stride), dilations=(1, 1), pads=(0, kernel // 2, 0, kernel // 2),
        zeros=("some", "low"), data="random", halos=(0, 0), clipped=False, pieces=1,
    )  # fmt: skip
    check_conv(name, case)
    check_residual(name, case)


@on_arm
@given(cases(depthwise=True))
@emulated_quick
def test_depthwise_convolution_agrees_with_onnx_runtime(name: str, case: Case) -> None:
    check_depthwise(name, case)


@on_arm
@given(cases(), st.integers(1, 6), st.integers(1, 3), st.integers(1, 3))
@emulated_quick
def test_every_register_tile_gives_the_same_bits(
    name: str, case: Case, pixels: int, vectors: int, splits: int
) -> None:
    check_tile(name, case, pixels, vectors, splits)


@on_arm
@PRODUCTS
@emulated_quick
def test_products_of_activations_are_exact(name: str, **product: Any) -> None:
    check_exact(microkernel(name), name, **product)


@on_arm
@pytest.mark.parametrize("check", [check_softmax, check_layer_normalization])
@given(rows=ROWS, count=SIZES, seed=SEEDS)
@emulated_quick
def test_rows_are_exact_but_for_ties(
    name: str, check: Callable[[str, int, int, int], None], rows: int, count: int, seed: int
) -> None:
    check(name, rows, count, seed)


@pytest.mark.slow
@on_arm
@pytest.mark.parametrize("check", [check_conv, check_residual, check_float_result])
@given(case=cases())
@emulated_thorough
def test_many_convolutions(name: str, check: Check, case: Case) -> None:
    check(name, case)


@pytest.mark.slow
@on_arm
@given(cases(depthwise=True))
@emulated_thorough
def test_many_depthwise_convolutions(name: str, case: Case) -> None:
    check_depthwise(name, case)
