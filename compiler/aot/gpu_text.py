"""A GPU's function as text: TVM's generator writes it in OpenCL C, or in CUDA's C++.

What kernels call beside the language's own (`ek_dot`, `ek_fma` …) a prelude defines, in the folder
of the runtime that has the language's driver.
"""

from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import TYPE_CHECKING, Literal

import numpy as np

from edgekiln.compiler.aot.codegen import passes, pointers
from edgekiln.compiler.lowering.tvm_target import target_of

if TYPE_CHECKING:
    from tvm.ir import Call, TensorLoad
    from tvm.tirx import Broadcast, Div, FloatImm, PrimExpr, PrimFunc, Stmt

_KERNEL_LAUNCH = 2  # TVM's calling convention of functions that a device runs
_PRELUDES = {"opencl": "prelude.cl", "cuda": "prelude.cuh"}


def function_text(func: "PrimFunc", symbol: str, tvm_target: Mapping[str, object]) -> str:
    """What TVM writes for one function, its own preamble included.

    Args:
        func: TIR that a `KernelBuilder` made inside `on_threads`.
        tvm_target: a profile's `[tvm]` table.
    """
    import tvm
    from tvm import ir, tirx
    from tvm.target import Target

    target = target_of(tvm_target)
    module = tvm.IRModule({symbol: func.with_attr("global_symbol", symbol)})
    module = tirx.transform.BindTarget(target.with_host(Target({"kind": "llvm"})))(module)
    lowered = tvm.ir.transform.Sequential(passes())(module)[symbol]
    params, prologue = pointers(lowered)
    body = tirx.SeqStmt([*prologue, _spelled(lowered.body, target.kind.name)])
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
    text: str = tvm.get_global_func(f"target.build.{target.kind.name}")(
        module, target
    ).inspect_source()
    return text


def _spelled(body: "Stmt", language: str) -> "Stmt":
    """The statements with the prelude's functions: in place of LLVM's, of quotients, which OpenCL
    does not round as IEEE 754 does, and of what TVM's generator of the language cannot write, or
    not exactly.
    """
    from tvm import ir, tirx
    from tvm.script.ir_builder import tirx as T
    from tvm_ffi import structural_map

    names = {
        T.llvm_lookup_intrinsic_id(f"llvm.{name}"): f"ek_{name}"
        for name in ("fma", "maximum", "minimum", "sqrt")
    }

    # Nothing is contracted in a GPU's text, so that there is nothing to fence off.
    fence = T.llvm_lookup_intrinsic_id("llvm.arithmetic.fence")

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
        if int(number) == fence:
            return args[0]
        return called(names[int(number)], str(node.ty), *args)

    def loaded(load: "TensorLoad") -> "PrimExpr":
        # Where TVM cannot prove that bytes begin at a whole vector, it writes CUDA's expression.
        dtype, (index,) = str(load.ty), load.indices
        if "int8x" not in dtype or not isinstance(index, tirx.Ramp):
            return load
        first = tirx.address_of(load.source[index.base])
        return called("ek_load", dtype, first)

    def filled(splat: "Broadcast") -> "PrimExpr":
        # Four equal bytes are one word to CUDA's generator, which it makes of constants alone.
        dtype = str(splat.ty)
        if dtype not in {"int8x4", "uint8x4"} or isinstance(splat.value, tirx.IntImm):
            return splat
        return tirx.reinterpret(dtype, tirx.call_extern("int32", "ek_fill", splat.value))

    def exact(number: "FloatImm") -> "PrimExpr":
        # OpenCL's generator writes seven digits, and some float32 need nine.
        value = np.float32(number.value)
        if str(number.ty) != "float32" or np.float32(f"{value:.6e}") == value:
            return number
        bits = tirx.IntImm("int32", int(value.view(np.int32)))
        return tirx.call_extern("float32", "as_float", bits)

    rules: list[tuple[object, Callable[..., PrimExpr]]] = [(tirx.Div, division), (ir.Call, call)]
    if language == "opencl":
        rules += [(ir.TensorLoad, loaded), (tirx.FloatImm, exact)]
    else:
        rules += [(tirx.Broadcast, filled)]
    return structural_map(body, rules)


def prelude(language: Literal["opencl", "cuda"]) -> str:
    """The definitions that a language's kernels call."""
    path = files("edgekiln.runtime") / "c" / language / _PRELUDES[language]
    return path.read_text(encoding="utf-8")
