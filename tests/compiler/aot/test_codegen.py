"""TensorIR to plain C functions: right results, nothing of TVM in them, tiles in registers."""

import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from edgekiln.compiler.aot import jit
from edgekiln.compiler.aot.codegen import MAX_STACK_BYTES, compile_function
from tests.compiler.aot import tiny
from tests.compiler.aot.tiny import N

TARGET = tiny.PROFILE.tvm


def symbols(content: bytes, home: Path, *flags: str) -> set[str]:
    (home / "object.o").write_bytes(content)
    lines = subprocess.check_output(["nm", *flags, "object.o"], cwd=home, text=True).splitlines()
    return {line.split()[-1] for line in lines}


def tile_function() -> Any:
    """Sums of 16 lanes over 8 rows, in an accumulator with scope "local"."""
    from tvm.script.ir_builder import IRBuilder
    from tvm.script.ir_builder import tirx as T

    with IRBuilder() as builder, T.prim_func(s_tir=True):
        T.func_name("tile")
        a, out = (
            T.arg("a", T.buffer((8 * 16,), "int32")),
            T.arg("out", T.buffer((16,), "int32")),
        )
        acc = T.alloc_buffer((16,), "int32", scope="local")
        lanes = [T.ramp(0, 1, 16)]
        T.buffer_store(acc, T.broadcast(T.int32(0), 16), lanes)
        with T.serial(0, 8) as row:
            T.buffer_store(acc, acc[lanes[0]] + a[T.ramp(row * 16, 1, 16)], lanes)
        T.buffer_store(out, acc[lanes[0]], lanes)
    return builder.get()


def test_scalars_select_the_items_a_call_computes() -> None:
    add = jit.load(tiny.add_function(work=8), TARGET)
    a, b, out = np.arange(N, dtype=np.int32), np.full(N, 5, np.int32), np.zeros(N, np.int32)
    add(a, b, out, 2, 4)
    group = N // 8
    np.testing.assert_array_equal(out[2 * group : 4 * group], (a + b)[2 * group : 4 * group])
    assert not out[: 2 * group].any()
    assert not out[4 * group :].any()


def test_a_local_tile_never_touches_memory_and_frames_are_aligned(tmp_path: Path) -> None:
    compiled = compile_function(tile_function(), "tile", {**TARGET, "mcpu": "x86-64-v4"})
    assert compiled.workspace == ()
    (tmp_path / "tile.o").write_bytes(compiled.object)
    disassemble = ["objdump", "-d", "--no-show-raw-insn", "-j.text", "tile.o"]
    code = subprocess.check_output(disassemble, cwd=tmp_path, text=True)
    assert "vpaddd" in code
    assert not [line for line in code.splitlines() if "rsp" in line and "zmm" in line]
    # What LLVM might have to spill would lie in whole cache lines.
    assert "and    $0xffffffffffffffc0,%rsp" in code


def test_a_function_needs_nothing_of_tvm(tmp_path: Path) -> None:
    compiled = compile_function(tiny.scratch_function(32 * N), "scratch", TARGET)
    everything = symbols(compiled.object, tmp_path)
    assert not [name for name in everything if "TVM" in name]
    assert symbols(compiled.object, tmp_path, "-u") == set()


def test_small_scratch_lies_on_the_stack_and_large_is_handed_in() -> None:
    small = compile_function(tiny.scratch_function(N), "small", TARGET)
    large = compile_function(tiny.scratch_function(32 * N), "large", TARGET)
    assert small.workspace == ()
    assert [size > MAX_STACK_BYTES for size in large.workspace] == [True]
    x, y = np.arange(N, dtype=np.int32), np.zeros(N, np.int32)
    for elements in (N, 32 * N):
        jit.load(tiny.scratch_function(elements), TARGET)(x, y)
        np.testing.assert_array_equal(y, x + 1)


def test_equal_functions_give_equal_objects() -> None:
    first, again = (compile_function(tile_function(), "tile", TARGET) for _ in range(2))
    assert first == again


def test_a_parallel_loop_of_tvms_runs_in_one_thread() -> None:
    from tvm.script.ir_builder import IRBuilder
    from tvm.script.ir_builder import tirx as T

    with IRBuilder() as builder, T.prim_func(s_tir=True):
        T.func_name("parallel")
        out = T.arg("out", T.buffer((N,), "int32"))
        with T.parallel(0, N) as i:
            T.buffer_store(out, i, [i])
    found = np.zeros(N, np.int32)
    jit.load(builder.get(), TARGET)(found)
    np.testing.assert_array_equal(found, np.arange(N))


def legalized(op: str, *shapes: tuple[int, ...]) -> Any:
    """The TensorIR of one Relax operator, as a fallback brings it: with blocks."""
    import tvm
    from tvm import relax
    from tvm.relax.backend.cpu_generic import pipeline
    from tvm.target import Target

    builder = relax.BlockBuilder()
    inputs = [relax.Var(f"x{i}", relax.TensorType(s, "float32")) for i, s in enumerate(shapes)]
    with builder.function("main", inputs):
        with builder.dataflow():
            result = builder.emit_output(_relax(op)(*inputs))
        builder.emit_func_output(result)
    target = Target(dict(TARGET))
    with target, tvm.transform.PassContext(opt_level=3):
        module = tvm.transform.Sequential(pipeline.legalize_passes(target))(builder.get())
    (func,) = (f for f in module.functions.values() if isinstance(f, tvm.tirx.PrimFunc))
    return func


def _relax(op: str) -> Any:
    from tvm.relax import op as relax_op

    return {
        "softmax": lambda x: relax_op.nn.softmax(x, axis=-1),
        "sigmoid": relax_op.sigmoid,
        "matmul": relax_op.matmul,
        "conv2d": lambda x, w: relax_op.nn.conv2d(x, w, padding=1),
        "transpose": relax_op.permute_dims,
    }[op]


def test_float_operators_of_relax_compile_the_same_way() -> None:
    rng = np.random.default_rng(3)
    x, w = (rng.normal(size=s).astype(np.float32) for s in ((4, 32), (32, 8)))
    exp = np.exp(x - x.max(-1, keepdims=True))
    cases = [
        ("softmax", (x,), exp / exp.sum(-1, keepdims=True)),
        ("sigmoid", (x,), 1 / (1 + np.exp(-x))),
        ("matmul", (x, w), x @ w),
        ("transpose", (x,), x.T),
    ]
    for op, inputs, expected in cases:
        out = np.zeros(expected.shape, np.float32)
        jit.load(legalized(op, *(a.shape for a in inputs)), TARGET)(*inputs, out)
        np.testing.assert_allclose(out, expected, rtol=2e-5, atol=2e-6, err_msg=op)


def test_a_padded_float_convolution_gets_its_scratch_from_the_caller() -> None:
    image, kernel = np.ones((1, 8, 16, 16), np.float32), np.ones((4, 8, 3, 3), np.float32)
    func = legalized("conv2d", image.shape, kernel.shape)
    assert compile_function(func, "conv", TARGET).workspace == (4 * 8 * 18 * 18,)
    out = np.zeros((1, 4, 16, 16), np.float32)
    jit.load(func, TARGET)(image, kernel, out)
    assert out[0, 0, 5, 5] == 8 * 9  # inside
    assert out[0, 0, 0, 0] == 8 * 4  # corner
