"""Accesses outside of a program's memory are seen, named, and survived."""

import ctypes
import platform
import subprocess
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edgekiln.benchmarks.sanitizer import caught, kernel
from edgekiln.benchmarks.sanitizer.block import (
    EDGES,
    FILLINGS,
    PAGE,
    Edge,
    GuardedBlock,
    MemoryFaultError,
)
from edgekiln.benchmarks.sanitizer.program import check_apart, check_library
from edgekiln.compiler.aot.build import build
from edgekiln.compiler.ir.memory import Code
from edgekiln.compiler.ir.program import Program
from edgekiln.runtime.bundle import LIBRARY
from tests.compiler.aot import tiny
from tests.compiler.aot.tiny import N

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="builds x86-64 programs")

SIZE = 192  # bytes: whole lines, so that the allowed ones end right at the forbidden page
TOUCH = r"""
#include <stdint.h>
int32_t reads(const volatile char *x, int32_t at) { (void)x[at]; return 0; }
int32_t writes(volatile char *x, int32_t at) { x[at] = 1; return 0; }
/* Of the first page, which no process has. */
int32_t strays(const volatile char *x, int32_t at)
{
    (void)x;
    (void)*(const volatile char *)(intptr_t)at;
    return 0;
}
int32_t adds(int32_t a, int32_t b) { return a + b; }
"""


@pytest.fixture(scope="module")
def touch(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    home = tmp_path_factory.mktemp("touch")
    (home / "touch.c").write_text(TOUCH)
    command = ["cc", "-O1", "-fPIC", "-shared", "-o", "touch.so", "touch.c"]
    subprocess.run(command, cwd=home, check=True)
    return ctypes.CDLL(str(home / "touch.so"))


def access(touch: ctypes.CDLL, how: str, at: int, edge: Edge, *, constant: bool = False) -> None:
    block = GuardedBlock("x", SIZE, edge=edge, filling=FILLINGS["aa"])
    if constant:
        block.only_read()
    entry = ctypes.cast(touch[how], ctypes.c_void_p).value
    assert entry is not None
    assert caught.call(entry, [block.address, at], [block]) == 0
    block.check()


@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize("at", [0, SIZE - 1, SIZE + 63])
def test_what_may_be_read_is_read(touch: ctypes.CDLL, edge: Edge, at: int) -> None:
    access(touch, "reads", at, edge, constant=True)


@pytest.mark.parametrize(
    ("how", "at", "edge", "says"),
    [
        ("reads", SIZE + 64, "end", r"reads 64 B behind the end of x \(SIGSEGV\)"),
        ("reads", -1, "begin", r"reads 1 B before x \(SIGSEGV\)"),
        ("strays", 64, "end", r"reads elsewhere \(SIGSEGV\)"),
        ("writes", SIZE + 64, "end", r"writes 64 B behind the end of x \(SIGSEGV\)"),
        ("writes", SIZE, "end", "writes 1 B behind x, at 0 of 64"),
        ("writes", SIZE + 70, "begin", "writes 1 B behind x, at 70 of 3904"),
        ("writes", -1, "end", "writes 1 B before x, at 3839 of 3840"),
    ],
)
def test_an_access_outside_is_named_and_survived(
    touch: ctypes.CDLL, how: str, at: int, edge: Edge, says: str
) -> None:
    if PAGE != 4096:
        pytest.skip("the numbers are those of pages of 4096 bytes")
    with pytest.raises(MemoryFaultError, match=says):
        access(touch, how, at, edge)


def test_a_write_to_what_may_only_be_read_is_named(touch: ctypes.CDLL) -> None:
    with pytest.raises(MemoryFaultError, match=r"writes byte 5 of x \(SIGSEGV\)"):
        access(touch, "writes", 5, "end", constant=True)


def test_a_fault_does_not_change_what_later_calls_return(touch: ctypes.CDLL) -> None:
    entry = ctypes.cast(touch.adds, ctypes.c_void_p).value
    assert entry is not None
    with pytest.raises(MemoryFaultError):
        access(touch, "reads", -1, "begin")
    assert caught.call(entry, [-7, 3], []) == -4


def shifted(elements: int) -> Any:
    """int32 out[i] = a[i + elements] + b[i]."""
    from tvm.script.ir_builder import IRBuilder
    from tvm.script.ir_builder import tirx as T

    with IRBuilder() as builder, T.prim_func(s_tir=True):
        T.func_name("shifted")
        a, b, out = (T.arg(name, T.buffer((N,), "int32")) for name in ("a", "b", "out"))
        with T.serial(0, N) as i:
            T.buffer_store(out, a[i + elements] + b[i], [i])
    return builder.get()


@pytest.mark.parametrize(
    ("elements", "says"),
    [
        (16, "the result depends on what is in memory"),
        (17, "reads 64 B behind the end of argument 0"),
        (-1, "reads 4 B before argument 0|depends on"),
    ],
)
def test_a_kernel_that_looks_beyond_its_operand_is_found(elements: int, says: str) -> None:
    call = kernel.load(shifted(elements), tiny.PROFILE.tvm)
    a, b, out = (np.ones(N, np.int32) for _ in range(3))
    with pytest.raises(MemoryFaultError, match=says):
        call(a, b, out)


def with_call(index: int, function: Any) -> Program:
    """The tiny program, one of its calls replaced."""
    program = tiny.program()
    calls = list(program.calls)
    calls[index] = replace(calls[index], code=Code(emit=lambda: function), work=0)
    return replace(program, calls=tuple(calls))


def judge(program: Program) -> None:
    """As it ships, and with its buffers apart."""
    x = np.arange(N, dtype=np.int32).reshape(1, N)
    expected = [tiny.expected(x)]
    built = build(program, tiny.PROFILE)
    check_library(built.spec, built.files[LIBRARY], [x], expected)
    check_apart(program, tiny.PROFILE, [x], expected)


def test_a_sound_program_passes() -> None:
    judge(tiny.program())


@pytest.mark.parametrize(
    ("index", "says"),
    [
        (0, "reads 64 B behind the end of input 'x'"),
        (1, r"output 0 depends on what is in memory \(as it ships"),
    ],
)
def test_a_program_that_looks_beyond_a_tensor_is_found(index: int, says: str) -> None:
    with pytest.raises(MemoryFaultError, match=says):
        judge(with_call(index, shifted(17)))


@pytest.mark.parametrize(("index", "name"), [(1, "buffer 'a'"), (2, "buffer 'b'")])
def test_between_forbidden_pages_each_buffer_has_its_name(index: int, name: str) -> None:
    x = np.zeros((1, N), np.int32)
    with pytest.raises(MemoryFaultError, match=f"reads 64 B behind the end of {name}"):
        check_apart(with_call(index, shifted(17)), tiny.PROFILE, [x], [tiny.expected(x)])


def test_a_constant_has_its_bounds_too() -> None:
    from tvm.script.ir_builder import IRBuilder
    from tvm.script.ir_builder import tirx as T

    with IRBuilder() as builder, T.prim_func(s_tir=True):
        T.func_name("beyond")
        a, b, out = (T.arg(name, T.buffer((N,), "int32")) for name in ("a", "b", "out"))
        with T.serial(0, N) as i:
            T.buffer_store(out, a[i] + b[i + 17], [i])
    x = np.zeros((1, N), np.int32)
    with pytest.raises(MemoryFaultError, match="reads 64 B behind the end of input 'constant 0'"):
        check_apart(with_call(0, builder.get()), tiny.PROFILE, [x], [tiny.expected(x)])


def test_a_result_that_nobody_writes_whole_is_found() -> None:
    """Its other half is what lay there before."""
    from tvm.script.ir_builder import IRBuilder
    from tvm.script.ir_builder import tirx as T

    with IRBuilder() as builder, T.prim_func(s_tir=True):
        T.func_name("half")
        a, out = (T.arg(name, T.buffer((N,), "int32")) for name in ("a", "out"))
        with T.serial(0, N // 2) as i:
            T.buffer_store(out, a[i] + 1, [i])
    with pytest.raises(MemoryFaultError, match="output 0 depends on what is in memory"):
        judge(with_call(3, builder.get()))
