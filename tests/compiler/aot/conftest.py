"""Small programs of real TensorIR functions, and a profile that any x86-64 machine can run."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgekiln.compiler.aot.build import Built, build
from edgekiln.compiler.program import Buffer, Call, Const, In, Out, Program, Ref
from edgekiln.runtime.manifest import TensorSpec
from edgekiln.targets.profile import Caches, TargetProfile, Toolchain

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


def tensor(name: str) -> TensorSpec:
    return TensorSpec(name=name, shape=(1, N), dtype="int32")


@pytest.fixture(scope="session")
def profile() -> TargetProfile:
    return TargetProfile(
        name="test-x86", description="", machine="x86_64", isa="generic", cores=1,
        tvm={"kind": "llvm", "mtriple": "x86_64-linux-gnu", "mcpu": "x86-64"},
        features=("sse4_1",), caches=Caches(l1d=0, l2=0, l3=0), channel_multiple=1,
        toolchain=Toolchain(cc="gcc", packages=("gcc", "libc6-dev")),
    )  # fmt: skip


@pytest.fixture(scope="session")
def constants() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    return np.arange(N, dtype=np.int32), np.full(N, 1000, np.int32)


@pytest.fixture(scope="session")
def program(constants: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]) -> Program:
    """out = ((x + ramp) + 1000) + ramp, the middle in 8 items; then + 1 through scratch memory."""
    ramp, thousand = constants
    calls = (
        _add("a", In(index=0), Const(array=ramp), Ref(buffer="a")),
        _add("b", Ref(buffer="a"), Const(array=thousand), Ref(buffer="b"), work=8),
        _add("c", Ref(buffer="b"), Const(array=ramp.copy()), Ref(buffer="c")),
        Call(
            name="y", op="float:Inc", func=scratch_function(32 * N), integer=False,
            args=(Ref(buffer="c"), Out(index=0)), output=tensor("y"), reason="a test",
        ),
    )  # fmt: skip
    return Program(
        name="tiny", inputs=(tensor("x"),), outputs=(tensor("y"),), calls=calls, model_sha256="0",
        buffers=tuple(Buffer(name=name, bytes=4 * N) for name in "abc"),
    )  # fmt: skip


def _add(name: str, *args: In | Out | Ref | Const, work: int = 0) -> Call:
    return Call(
        name=name, op="add", func=add_function(work), args=args, work=work, output=tensor(name)
    )


@pytest.fixture(scope="session")
def expected(
    constants: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]],
) -> Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]:
    ramp, thousand = constants
    return lambda x: x + ramp + thousand + ramp + 1


@pytest.fixture(scope="session")
def built(program: Program, profile: TargetProfile) -> Built:
    return build(program, profile)
