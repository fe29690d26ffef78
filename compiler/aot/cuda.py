"""Compile TensorIR functions to machine code of NVIDIA's GPUs, a cubin, and to PTX.

TVM's generator writes CUDA's C++, NVIDIA's compiler (`nvrtc`) the rest. PTX is what drivers of GPUs
compile that are newer than the one which was named.
"""

import re
import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from edgekiln.compiler.aot import nvrtc
from edgekiln.compiler.aot.codegen import Compiled
from edgekiln.compiler.aot.gpu_text import function_text, prelude

if TYPE_CHECKING:
    from tvm.tirx import PrimFunc

# TVM's preamble and its declaration end where the definition begins.
_DEFINITION = re.compile(r'extern "C" __global__ void [^;{]*\{')
_HEAD = struct.Struct("<Q")  # bytes of the cubin, before it


class Images(NamedTuple):
    """A kernel for one GPU and for those after it."""

    cubin: bytes
    ptx: bytes  # ends in a 0


def compile_function(func: "PrimFunc", symbol: str, tvm_target: Mapping[str, object]) -> Compiled:
    """Compile one function; `object` is what `images` takes apart.

    Raises:
        MissingToolError: NVIDIA's compiler is not installed.
    """
    text = kernel_text(func, symbol, tvm_target)
    made = nvrtc.compile_text(prelude("cuda") + text, f"{symbol}.cu", str(tvm_target["arch"]))
    packed = _HEAD.pack(len(made.cubin)) + made.cubin + made.ptx
    return Compiled(object=packed, workspace=())


def kernel_text(func: "PrimFunc", symbol: str, tvm_target: Mapping[str, object]) -> str:
    """The function in CUDA's C++, without the prelude; see `function_text`."""
    text = function_text(func, symbol, tvm_target)
    found = _DEFINITION.search(text)
    assert found, text
    return text[found.start() :]


def images(packed: bytes) -> Images:
    """The kernel's two forms."""
    (size,) = _HEAD.unpack_from(packed)
    return Images(packed[_HEAD.size : _HEAD.size + size], packed[_HEAD.size + size :])
