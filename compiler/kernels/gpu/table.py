"""Which kernels have a form for GPUs; the others have a thread for each item of their work."""

from collections.abc import Callable, Mapping
from typing import Protocol

from edgekiln.compiler.ir.tensor import BYTES
from edgekiln.compiler.kernels.binary import BinaryKernel
from edgekiln.compiler.kernels.conv2d.kernel import ConvolutionKernel
from edgekiln.compiler.kernels.convert import DequantizeKernel, HalfAwayKernel, QuantizeKernel
from edgekiln.compiler.kernels.copy import CopyKernel
from edgekiln.compiler.kernels.depthwise.kernel import DepthwiseKernel
from edgekiln.compiler.kernels.fixed_pool import AwayPoolKernel, FixedMeanKernel
from edgekiln.compiler.kernels.gpu.convolution import convolution_on_threads
from edgekiln.compiler.kernels.gpu.depthwise import depthwise_on_threads
from edgekiln.compiler.kernels.gpu.elements import (
    average_pool_on_threads,
    binary_on_threads,
    lookup_on_threads,
    max_pool_on_threads,
)
from edgekiln.compiler.kernels.gpu.moves import (
    copy_on_threads,
    dequantize_on_threads,
    quantize_on_threads,
)
from edgekiln.compiler.kernels.gpu.recurrent import recurrent_on_threads
from edgekiln.compiler.kernels.pool import AveragePoolKernel, MaxPoolKernel
from edgekiln.compiler.kernels.recurrent.kernel import RecurrentKernel
from edgekiln.compiler.kernels.types import Kernel
from edgekiln.compiler.kernels.unary import LookupKernel
from edgekiln.targets.isa.base import MicroKernel

# Each takes a kernel of its type, and a micro-kernel.
_Forms = Mapping[type, Callable[..., Kernel]]
FORMS_OF_CODES: _Forms = {
    ConvolutionKernel: convolution_on_threads,
    DepthwiseKernel: depthwise_on_threads,
    RecurrentKernel: recurrent_on_threads,
}
FORMS: _Forms = {
    BinaryKernel: binary_on_threads,
    LookupKernel: lookup_on_threads,
    MaxPoolKernel: max_pool_on_threads,
    AveragePoolKernel: average_pool_on_threads,
    AwayPoolKernel: average_pool_on_threads,
    FixedMeanKernel: average_pool_on_threads,
    CopyKernel: copy_on_threads,
    QuantizeKernel: quantize_on_threads,
    HalfAwayKernel: quantize_on_threads,
    DequantizeKernel: dequantize_on_threads,
}


class BuiltKernel(Protocol):
    """A kernel that can be built for any chip."""

    def build(self, mk: MicroKernel, /) -> Kernel: ...


def built(kernel: BuiltKernel, mk: MicroKernel) -> Kernel:
    """Build a kernel in the form that suits the chip."""
    forms = {**FORMS, **FORMS_OF_CODES} if mk.activation in BYTES else FORMS
    form = forms.get(type(kernel)) if mk.group else None
    return kernel.build(mk) if form is None else form(kernel, mk)
