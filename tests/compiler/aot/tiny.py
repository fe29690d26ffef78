"""A small program of real TensorIR functions, for a profile that any x86-64 machine can run."""

from typing import TYPE_CHECKING, Any

import numpy as np

from edgekiln.compiler.ir.memory import Code
from edgekiln.compiler.ir.program import ArenaBuffer, Call, Const, In, Out, Program, Ref
from edgekiln.runtime.manifest import TensorSpec
from edgekiln.targets.profile import Caches, TargetProfile, Toolchain

if TYPE_CHECKING:
    from numpy.typing import NDArray

N = 96  # elements of every tensor here


def add_function(work: int = 0) -> Any:
    """int32 out[i] = a[i] + b[i]; with `work`, the items are groups of N / work elements."""
    from tvm.script.ir_builder import IRBuilder
    from tvm.script.ir_builder import tirx as T

    with IRBuilder() as builder, T.prim_func(s_tir=True):
        T.func_name("add")
        a, b, out = (T.arg(name, T.buffer((N,), "int32")) for name in ("a", "b", "out"))
        if not work:
            with T.serial(0, N) as i:
                T.buffer_store(out, a[i] + b[i], [i])
        else:
            begin, end = T.arg("begin", T.int32()), T.arg("end", T.int32())
            with T.serial(begin, end) as item, T.serial(0, N // work) as i:
                at = item * (N // work) + i
                T.buffer_store(out, a[at] + b[at], [at])
    return builder.get()


def scratch_function(elements: int) -> Any:
    """int32 out[i] = a[i] + 1 by way of a scratch array, one element in `elements / N` used."""
    from tvm.script.ir_builder import IRBuilder
    from tvm.script.ir_builder import tirx as T

    with IRBuilder() as builder, T.prim_func(s_tir=True):
        T.func_name("scratch")
        a, out = (T.arg(name, T.buffer((N,), "int32")) for name in ("a", "out"))
        scratch = T.alloc_buffer((elements,), "int32", scope="global")
        with T.serial(0, N) as i:
            T.buffer_store(scratch, a[i] + 1, [i * (elements // N)])
        with T.serial(0, N) as i:
            T.buffer_store(out, scratch[i * (elements // N)], [i])
    return builder.get()


def double_function() -> Any:
    """float32 out[i] = 2 * a[i]."""
    from tvm.script.ir_builder import IRBuilder
    from tvm.script.ir_builder import tirx as T

    with IRBuilder() as builder, T.prim_func(s_tir=True):
        T.func_name("double")
        a, out = (T.arg(name, T.buffer((N,), "float32")) for name in ("a", "out"))
        with T.serial(0, N) as i:
            T.buffer_store(out, a[i] * T.float32(2), [i])
    return builder.get()


def tensor(name: str) -> TensorSpec:
    return TensorSpec(name=name, shape=(1, N), dtype="int32")


def _add(name: str, *args: In | Out | Ref | Const, work: int = 0) -> Call:
    return Call(
        name=name,
        op="add",
        code=Code(emit=lambda: add_function(work)),
        args=args,
        work=work,
        output=tensor(name),
    )


PROFILE = TargetProfile(
    name="test-x86", description="", machine="x86_64", isa="generic", cores=1,
    tvm={"kind": "llvm", "mtriple": "x86_64-linux-gnu", "mcpu": "x86-64"},
    features=("sse4_1",), caches=Caches(l1d=0, l2=0, l3=0), channel_multiple=1,
    toolchain=Toolchain(cc="gcc", packages=("gcc", "libc6-dev")),
)  # fmt: skip

_RAMP = np.arange(N, dtype=np.int32)


def program() -> Program:
    """out = ((x + ramp) + 1000) + ramp, the middle in 8 items; then + 1 through scratch memory."""
    thousand = np.full(N, 1000, np.int32)
    calls = (
        _add("a", In(index=0), Const(array=_RAMP), Ref(buffer="a")),
        _add("b", Ref(buffer="a"), Const(array=thousand), Ref(buffer="b"), work=8),
        _add("c", Ref(buffer="b"), Const(array=_RAMP.copy()), Ref(buffer="c")),
        Call(
            name="y", op="fallback", code=Code(emit=lambda: scratch_function(32 * N)),
            integer=False, reason="a test", output=tensor("y"),
            args=(Ref(buffer="c"), Out(index=0)),
        ),
    )  # fmt: skip
    return Program(
        name="tiny", inputs=(tensor("x"),), outputs=(tensor("y"),), calls=calls, model_sha256="0",
        buffers=tuple(ArenaBuffer(name=name, bytes=4 * N) for name in "abc"),
    )  # fmt: skip


def expected(x: "NDArray[np.int32]") -> "NDArray[np.int32]":
    return x + _RAMP + np.int32(1000) + _RAMP + np.int32(1)


def classifier() -> Program:
    """Float in, float out, no constant and no buffer: scores = 2 * image."""
    image, scores = (TensorSpec(name=name, shape=(1, N), dtype="float32") for name in "xy")
    call = Call(
        name="y", op="double", code=Code(emit=double_function), args=(In(index=0), Out(index=0)),
        output=scores,
    )  # fmt: skip
    return Program(
        name="double", inputs=(image,), outputs=(scores,), calls=(call,), model_sha256="0",
        buffers=(),
    )  # fmt: skip
