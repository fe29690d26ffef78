"""Compile TensorIR functions to OpenCL C: text, which the device's driver compiles on first use.

TVM's generator writes each function. Its pointers become a piece of memory and a place in it, for
OpenCL has no pointers on the host's side.
"""

import re
from collections.abc import Iterable, Mapping
from importlib.resources import files
from typing import TYPE_CHECKING

from edgekiln.compiler.aot.codegen import Compiled, passes, pointers

if TYPE_CHECKING:
    from tvm.ir import Call, TensorLoad
    from tvm.tirx import Div, PrimExpr, PrimFunc, Stmt

# `__kernel void conv2d_3f9a(__global char* restrict p1_ptr, …) {`, as TVM writes it.
_SIGNATURE = re.compile(r"__kernel void (\w+)\(([^)]*)\)")
_KERNEL_LAUNCH = 2  # TVM's calling convention of functions that a device runs


def compile_function(func: "PrimFunc", symbol: str, tvm_target: Mapping[str, object]) -> Compiled:
    """Compile one function; `object` is its text.

    Args:
        func: TIR that a `KernelBuilder` made inside `on_threads`.
        tvm_target: a profile's `[tvm]` table.
    """
    import tvm
    from tvm import ir, tirx
    from tvm.target import Target

    target = Target(dict(tvm_target))
    module = tvm.IRModule({symbol: func.with_attr("global_symbol", symbol)})
    module = tirx.transform.BindTarget(target.with_host(Target({"kind": "llvm"})))(module)
    lowered = tvm.ir.transform.Sequential(passes())(module)[symbol]
    params, prologue = pointers(lowered)
    body = tirx.SeqStmt([*prologue, _spelled(lowered.body)])
    attrs = ir.make_node(
        "ir.DictAttrs",
        **{
            "global_symbol": symbol,
            "target": target,
            "calling_conv": _KERNEL_LAUNCH,
            "tirx.is_global_func": True,
            "tirx.noalias": True,  # `restrict` on every pointer
            "tirx.kernel_launch_params": ["blockIdx.x", "threadIdx.x"],
        },
    )
    module = tvm.IRModule({symbol: tirx.PrimFunc(params, body, attrs=attrs)})
    module = tirx.transform.LowerIntrin()(module)
    text = tvm.get_global_func("target.build.opencl")(module, target).inspect_source()
    return Compiled(object=_with_places(text).encode(), workspace=())


def _spelled(body: "Stmt") -> "Stmt":
    """The statements with the prelude's functions: in place of LLVM's, of quotients, which OpenCL
    does not round as IEEE 754 does, and of loads of several bytes.
    """
    from tvm import ir, tirx
    from tvm.script.ir_builder import tirx as T
    from tvm_ffi import structural_map

    names = {
        T.llvm_lookup_intrinsic_id(f"llvm.{name}"): f"ek_{name}"
        for name in ("fma", "maximum", "minimum", "sqrt")
    }

    def called(name: str, dtype: str, *args: "PrimExpr") -> "PrimExpr":
        lanes = dtype.partition("x")[2]
        return tirx.call_extern(dtype, name + lanes, *args)

    def division(quotient: "Div") -> "PrimExpr":
        dtype = str(quotient.ty)
        if not dtype.startswith("float32"):
            return quotient
        return called("ek_div", dtype, quotient.a, quotient.b)

    def call(node: "Call") -> "PrimExpr":
        if getattr(node.op, "name", "") == "tirx.sqrt":
            return called("ek_sqrt", str(node.ty), *node.args)
        if getattr(node.op, "name", "") != "tirx.call_llvm_pure_intrin":
            return node
        number, *args = node.args
        return called(names[int(number)], str(node.ty), *args)

    def loaded(load: "TensorLoad") -> "PrimExpr":
        # Where TVM cannot prove that bytes begin at a whole vector, it writes CUDA's expression.
        dtype, (index,) = str(load.ty), load.indices
        if "int8x" not in dtype or not isinstance(index, tirx.Ramp):
            return load
        first = tirx.address_of(load.source[index.base])
        return called("ek_load", dtype, first)

    rules = [(tirx.Div, division), (ir.Call, call), (ir.TensorLoad, loaded)]
    return structural_map(body, rules)


def _with_places(text: str) -> str:
    """The function with memory and a byte offset for each pointer: `f(p0, at0, p1, at1, …)`."""
    found = _SIGNATURE.search(text)
    assert found, text
    symbol, parameters = found.groups()
    types = [each.rpartition("*")[0].strip() for each in parameters.split(",")]
    given = ", ".join(f"__global uchar *p{i}, uint at{i}" for i in range(len(types)))
    handed = ", ".join(f"({type_} *)(p{i} + at{i})" for i, type_ in enumerate(types))
    body = _SIGNATURE.sub(r"static void \1_body(\2)", text)
    # Comments of TVM's and the declaration before the definition say nothing.
    body = "\n".join(line for line in body.splitlines() if line and not line.startswith("//"))
    return f"{body}\n__kernel void {symbol}({given}) {{ {symbol}_body({handed}); }}\n"


def program_text(functions: Iterable[bytes]) -> bytes:
    """The text of a whole program: what kernels call, then the kernels."""
    return b"\n".join((prelude().encode(), *functions))


def prelude() -> str:
    """The definitions that kernels call, by the dot product that the driver chose."""
    return (files("edgekiln.runtime") / "c" / "opencl" / "prelude.cl").read_text(encoding="utf-8")
