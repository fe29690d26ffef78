"""Compile TensorIR functions to OpenCL C: text, which the device's driver compiles on first use.

The pointers of TVM's text become a piece of memory and a place in it, for OpenCL has no pointers on
the host's side.
"""

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from edgekiln.compiler.aot.codegen import Compiled
from edgekiln.compiler.aot.gpu_text import function_text, prelude

if TYPE_CHECKING:
    from tvm.tirx import PrimFunc

# `__kernel void conv2d_3f9a(__global char* restrict p1_ptr, …) {`, as TVM writes it.
_SIGNATURE = re.compile(r"__kernel void (\w+)\(([^)]*)\)")
# What threads of a group share: `__local char name[144];`, which stands in kernels alone.
_SHARED = re.compile(r"^ *__local (\w+) (\w+)(\[\d+\]);\n", re.MULTILINE)


def compile_function(func: "PrimFunc", symbol: str, tvm_target: Mapping[str, object]) -> Compiled:
    """Compile one function; `object` is its text. See `function_text`."""
    text = function_text(func, symbol, tvm_target)
    return Compiled(object=_with_places(text).encode(), workspace=())


def _with_places(text: str) -> str:
    """The function with memory and a byte offset for each pointer: `f(p0, at0, p1, at1, …)`."""
    found = _SIGNATURE.search(text)
    assert found, text
    symbol, parameters = found.groups()
    types = [each.rpartition("*")[0].strip() for each in parameters.split(",")]
    shared = [match.groups() for match in _SHARED.finditer(text)]
    given = ", ".join(f"__global uchar *p{i}, uint at{i}" for i in range(len(types)))
    pointers = [f"({type_} *)(p{i} + at{i})" for i, type_ in enumerate(types)]
    handed = ", ".join([*pointers, *(name for _, name, _ in shared)])
    more = "".join(f", __local {type_} *restrict {name}" for type_, name, _ in shared)
    body = _SIGNATURE.sub(rf"static void \1_body(\2{more})", _SHARED.sub("", text))
    places = "".join(f"__local {type_} {name}{size}; " for type_, name, size in shared)
    # Comments of TVM's and the declaration before the definition say nothing.
    body = "\n".join(line for line in body.splitlines() if line and not line.startswith("//"))
    return f"{body}\n__kernel void {symbol}({given}) {{ {places}{symbol}_body({handed}); }}\n"


def program_text(functions: Iterable[bytes]) -> bytes:
    """The text of a whole program: what kernels call, then the kernels."""
    return b"\n".join((prelude("opencl").encode(), *functions))
