"""Kernels on a GPU's micro-kernel agree with ONNX Runtime, bit by bit: on an OpenCL device, and by
the text of CUDA's, which this processor executes.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from edgekiln.compiler.ir.memory import Nhwc
from edgekiln.compiler.kernels.builder import KernelBuilder
from edgekiln.compiler.kernels.conv2d.kernel import ConvolutionKernel
from edgekiln.compiler.kernels.epilogue.finish import RequantizeFinish
from edgekiln.compiler.kernels.gpu.convolution import ConvolutionTiles
from edgekiln.compiler.kernels.gpu.table import built
from edgekiln.compiler.kernels.sharing import shared
from edgekiln.compiler.kernels.tir import store
from edgekiln.compiler.kernels.types import Kernel
from edgekiln.targets import isa
from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.expressions import float_const, load
from tests import opencl
from tests.compiler.kernels.convolutions import Case, cases
from tests.compiler.kernels.harness import loaded, microkernel, quick, run
from tests.compiler.kernels.test_conv2d import (
    check_conv,
    check_depthwise,
    check_float_result,
    check_residual,
)
from tests.compiler.kernels.test_pool import check_max_pool, windows

NAME = "opencl"
GPU_LANGUAGES = pytest.mark.parametrize("name", ["opencl", "cuda"])
# A device takes a second to compile each; `tests/compiler/kernels -m slow -k opencl` has many.
few = settings(quick, max_examples=3)

# What devices have and this one has not, as their specifications say it.
BUILTINS = {
    "EK_DOT_KHR": """
        int dot_4x8packed_ss_int(uint a, uint b) {
            char4 x = as_char4(a), w = as_char4(b);
            return x.s0 * w.s0 + x.s1 * w.s1 + x.s2 * w.s2 + x.s3 * w.s3;
        }
    """,
    "EK_DOT_ARM": """
        int arm_dot_acc(char4 x, char4 w, int c) {
            return c + x.s0 * w.s0 + x.s1 * w.s1 + x.s2 * w.s2 + x.s3 * w.s3;
        }
    """,
    "EK_DOT_QCOM": """
        uint qcom_dot8_acc(uint a, uint b, uint c) {
            uchar4 x = as_uchar4(a), w = as_uchar4(b);
            return c + (uint)x.s0 * w.s0 + (uint)x.s1 * w.s1 + (uint)x.s2 * w.s2
                + (uint)x.s3 * w.s3;
        }
    """,
}


@GPU_LANGUAGES
@given(case=cases())
@few
def test_convolution_agrees_with_onnx_runtime(name: str, case: Case) -> None:
    check_conv(name, case)


@GPU_LANGUAGES
@given(case=cases(depthwise=True))
@few
def test_depthwise_convolution_agrees_with_onnx_runtime(name: str, case: Case) -> None:
    check_depthwise(name, case)


@GPU_LANGUAGES
@given(case=cases())
@few
def test_a_fused_residual_gives_the_bits_of_the_two_kernels(name: str, case: Case) -> None:
    check_residual(name, case)


@GPU_LANGUAGES
@given(case=cases())
@few
def test_sums_become_floats_exactly(name: str, case: Case) -> None:
    check_float_result(name, case)


@GPU_LANGUAGES
@given(window=windows(dilated=True))
@few
def test_max_pool_is_the_largest_code_inside_the_image(name: str, window: dict[str, Any]) -> None:
    check_max_pool(name, window)


def convolution(size: int, channels: tuple[int, int]) -> ConvolutionKernel:
    ic, oc = channels
    rng = np.random.default_rng(1)
    return ConvolutionKernel(
        x=Nhwc(n=1, h=size, w=size, c=ic, dtype="int8", zero_point=3),
        y=Nhwc(n=1, h=size, w=size, c=oc, dtype="int8", zero_point=-7),
        weight=rng.integers(-127, 128, (oc, ic, 1, 1)).astype(np.int8),
        bias=rng.integers(-9999, 9999, oc).astype(np.int32),
        finish=RequantizeFinish(mult=np.full(oc, 1e-3, np.float32), clip=(-128, 127)),
    )  # fmt: skip


# It names an extension that this device has not.
@pytest.mark.filterwarnings("ignore:Non-empty compiler output")
@pytest.mark.parametrize("option", BUILTINS)
def test_every_dot_product_that_devices_offer_gives_the_same_bits(option: str) -> None:
    opencl.require()
    conv = convolution(5, (24, 8))
    kernel = built(conv, isa.load(NAME))
    codes = np.random.default_rng(2).integers(-128, 128, conv.x.elements).astype(np.int8)
    found = np.zeros(conv.y.elements, np.int8)
    call = opencl.load(kernel, (f"-D{option}",), BUILTINS[option])
    call(codes, *kernel.constants, found)
    np.testing.assert_array_equal(found, run(kernel, NAME, [codes], conv.y))


@pytest.mark.parametrize(("size", "pixels"), [(7, 1), (80, 2), (112, 4)])
def test_threads_take_more_pixels_where_enough_are_left_to_keep_the_chip_busy(
    size: int, pixels: int
) -> None:
    tiles = ConvolutionTiles(convolution(size, (16, 8)), isa.load(NAME))  # type: ignore[arg-type]
    assert tiles.pixels == pixels


def test_a_kernel_without_a_form_of_its_own_has_a_thread_for_each_item() -> None:
    from edgekiln.compiler.kernels.softmax import SoftmaxKernel

    row = Nhwc(n=1, h=1, w=33, c=10, dtype="int8", scale=0.1)
    kernel = built(SoftmaxKernel(x=row, y=row, count=10, clip=(-128, 127)), isa.load(NAME))
    assert kernel.code.launch is not None
    assert (kernel.work, kernel.code.launch.groups, kernel.code.launch.threads) == (0, 1, 33)


@dataclass(frozen=True)
class Scaled:
    """Multiplies floats by numbers that seven decimal digits do not tell apart from others."""

    factors: tuple[float, ...]

    @property
    def erased(self) -> "Scaled":
        return self

    @shared
    def build(self, mk: MicroKernel) -> Kernel:
        del mk
        with KernelBuilder() as k:
            x, y = (k.tensor(len(self.factors), "float32") for _ in range(2))
            k.no_items()
            for place, factor in enumerate(self.factors):
                store(y, place, load(x, place) * float_const(factor))
        return k.finish()


@GPU_LANGUAGES
def test_numbers_in_a_kernels_text_are_exact(name: str) -> None:
    factors = (2.0**-23, 2.0**-22, 1 / 3, 16777215.0, 0.5, -3.3999999e38)
    kernel, ones = Scaled(factors).build(microkernel(name)), np.ones(len(factors), np.float32)
    found = np.zeros_like(ones)
    loaded(kernel, name)(ones, found)
    np.testing.assert_array_equal(found, np.array(factors, np.float32))
