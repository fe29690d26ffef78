"""Arm's dot products alone: exact at the extremes, on QEMU; and their inner loops."""

import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekiln.compiler.aot.codegen import compile_function
from edgekiln.compiler.kernels.builder import KernelBuilder
from edgekiln.compiler.kernels.conv2d.kernel import ConvolutionKernel
from edgekiln.compiler.kernels.tir import store
from edgekiln.targets import profile
from edgekiln.targets.isa.base import MicroKernel
from edgekiln.targets.isa.expressions import load
from tests import emulated
from tests.compiler.kernels.convolutions import Case, Problem
from tests.compiler.kernels.harness import EMULATED, microkernel, on_arm

EXTREMES = np.array([-128, -127, -1, 0, 1, 127], np.int8)
MCA = "llvm-mca-19"
MOST_INT32 = np.iinfo(np.int32).max


def one_dot(mk: MicroKernel, lanes: int) -> Any:
    """out = start(sums) · finish after one dot product of each k_step bytes of `mk.rows` pixels."""
    with KernelBuilder() as k:
        x = k.tensor(mk.rows * mk.x_bytes, "int8")
        w = k.tensor(mk.x_bytes * lanes, "int8")
        sums = k.tensor(lanes, "int32")
        out = k.tensor(mk.rows * lanes, "int32")
        acc = mk.start(load(sums, 0, lanes), lanes)
        pixels = [load(x, row * mk.x_bytes, mk.x_bytes) for row in range(mk.rows)]
        for step in range(mk.x_bytes // mk.k_step):
            weights = load(w, step * lanes * mk.k_step, lanes * mk.k_step)
            acc = mk.dot(acc, mk.operand(pixels, step, lanes), weights, lanes)
        for row, values in enumerate(mk.finish(acc, lanes)):
            store(out, row * lanes, values, lanes)
    return k.finish().func


def rows_dot(mk: MicroKernel, lanes: int) -> Any:
    """out = sums + the dot product of four interleaved rows and w, lane by lane."""
    with KernelBuilder() as k:
        x = k.tensor(4 * lanes, "int8")
        w = k.tensor(4 * lanes, "int8")
        sums, out = k.tensor(lanes, "int32"), k.tensor(lanes, "int32")
        rows = [load(x, row * lanes, lanes) for row in range(4)]
        a = mk.interleave(rows, lanes)
        store(out, 0, mk.dot(load(sums, 0, lanes), a, load(w, 0, 4 * lanes), lanes), lanes)
    return k.finish().func


def data(shape: tuple[int, ...], kind: str, rng: np.random.Generator) -> np.ndarray:
    return np.full(shape, -128, np.int8) if kind == "lowest" else rng.choice(EXTREMES, shape)


@on_arm
@pytest.mark.parametrize("kind", ["lowest", "extremes"])
def test_a_dot_product_is_exact_where_every_byte_is_extreme(name: str, kind: str) -> None:
    mk, target = microkernel(name), profile.load(EMULATED[name])
    rng = np.random.default_rng(1)
    assert mk.lanes
    for lanes in mk.lanes:
        steps = mk.x_bytes // mk.k_step
        x = data((mk.rows, steps, mk.k_step), kind, rng)
        w = data((steps, lanes, mk.k_step), kind, rng)
        sums = rng.integers(-MOST_INT32, MOST_INT32, lanes, np.int32)  # sums may wrap
        out = np.zeros((mk.rows, lanes), np.int32)
        emulated.load(one_dot(mk, lanes), target)(x, mk.arrange(w), sums, out)
        products = np.einsum("rsk,slk->rl", x.astype(np.int64), w.astype(np.int64))
        np.testing.assert_array_equal(out, (sums + products).astype(np.int32))


@on_arm
def test_interleaved_rows_meet_their_weights(name: str) -> None:
    mk, target = microkernel(name).single, profile.load(EMULATED[name])
    rng = np.random.default_rng(2)
    assert mk.lanes
    for lanes in mk.lanes:
        x, w = data((4, lanes), "extremes", rng), data((lanes, 4), "extremes", rng)
        sums, out = np.arange(lanes, dtype=np.int32), np.zeros(lanes, np.int32)
        emulated.load(rows_dot(mk, lanes), target)(x, mk.arrange(w), sums, out)
        np.testing.assert_array_equal(out, sums + (x.T.astype(np.int32) * w).sum(1))


def inner_loop(name: str, home: Path, kernel: int) -> list[str]:
    """The loop with the most dot products of a convolution of 32 channels to 32."""
    mk, target = microkernel(name), profile.load(EMULATED[name])
    pad = kernel // 2
    case = Case(
        seed=0, n=1, size=(32, 32), groups=1, channels=(32, 32), kernel=(kernel, kernel),
        strides=(1, 1), dilations=(1, 1), pads=(pad,) * 4, zeros=("some", "some"), data="random",
        halos=(0, 0), clipped=False, pieces=1,
    )  # fmt: skip
    p = Problem(case, mk.activation)
    func = ConvolutionKernel(y=p.y.tensor, finish=p.finish, **p.attributes()).build(mk).func
    (home / "kernel.o").write_bytes(compile_function(func, "kernel", target.tvm).object)
    objdump = target.toolchain.cc.removesuffix("gcc") + "objdump"
    command = [objdump, "-d", "--no-show-raw-insn", "-j.text", "kernel.o"]
    text = subprocess.check_output(command, cwd=home, text=True)
    return max(_loops(text), key=lambda body: count(body)["dot"])


DOTS = ("sdot", "smmla", "smull", "smull2", "vmull.s8", "smlad")
BRANCH = re.compile(r"(?:b|cb|tb)[.a-z]*\s(?:.*\s)?([0-9a-f]+) <")


def _loops(text: str) -> list[list[str]]:
    """The instructions of each innermost loop: code that ends with a branch to its beginning."""
    code = [
        (int(match[1], 16), match[2])
        for match in re.finditer(r"^ *([0-9a-f]+):\t(.*)", text, re.MULTILINE)
    ]
    loops = []
    for end, (address, instruction) in enumerate(code):
        branch = BRANCH.match(instruction)
        start = int(branch[1], 16) if branch else address + 1
        body = [words for at, words in code[: end + 1] if at >= start]
        if start <= address and not any(BRANCH.match(words) for words in body[:-1]):
            loops.append(body)
    return loops


def count(body: list[str]) -> Counter[str]:
    """Instructions by mnemonic, and the kinds of them that matter."""
    counts = Counter(words.split()[0] for words in body)
    kinds = {
        "dot": sum(counts[name] for name in DOTS),
        "by element": sum(bool(re.search(r"\.4b\[\d\]", words)) for words in body),
        "stack": sum(bool(re.search(r"\bsp\b", words)) for words in body),
    }
    return counts + Counter(kinds | {"others": len(body) - kinds["dot"]})


# What may stand beside each dot product: loads and counters; on NEON also SADALP and copies.
@pytest.mark.parametrize(
    ("name", "most"),
    [("arm_dotprod", 0.3), ("arm_i8mm", 0.7), ("arm_neon", 1.5), ("armv7_neon", 2.5)],
)
@pytest.mark.parametrize("kernel", [1, 3])
def test_inner_loops_keep_their_sums_in_registers(
    name: str, most: float, kernel: int, tmp_path: Path
) -> None:
    loop = count(inner_loop(name, tmp_path, kernel))
    assert loop["dot"] >= 12
    assert loop["stack"] == 0
    assert loop["others"] <= most * loop["dot"]
    if name == "arm_dotprod":
        assert loop["by element"] == loop["dot"]


@pytest.mark.parametrize(("name", "loads"), [("arm_dsp", 4), ("arm_dsp_m7", 5)])
def test_a_microcontrollers_inner_loop_is_loads_and_products(
    name: str, loads: int, tmp_path: Path
) -> None:
    """A tile of 3 × 2 takes 5 loads beside 6 SMLAD, or 4 where LDRD loads two words; both addresses
    and the loop are four more. Nothing is widened there any more, and nothing is on the stack.
    """
    loop = count(inner_loop(name, tmp_path, 3))
    assert loop["dot"] >= 6 * 20
    assert loop["sxtb16"] == loop["stack"] == 0
    assert loop["others"] == loop["dot"] // 6 * loads + 4


def test_a_cortex_m7_loads_beside_its_products(tmp_path: Path) -> None:
    """By LLVM's model of its pipelines, which knows no caches: a product is issued every cycle."""
    body = inner_loop("arm_dsp_m7", tmp_path, 3)
    assert cycles_of(body, "thumbv7em-none-eabihf", "cortex-m7") <= 1.06 * count(body)["dot"]


def cycles_of(body: list[str], triple: str, cpu: str) -> float:
    """The cycles of an iteration of a loop."""
    if shutil.which(MCA) is None:
        pytest.skip(f"{MCA} is not installed (apt-get install llvm-19)")
    runs = 100
    listing = "loop:\n" + "\n".join(re.sub(r"[0-9a-f]+ <.*>", "loop", words) for words in body)
    command = [MCA, f"-mtriple={triple}", f"-mcpu={cpu}", f"-iterations={runs}"]
    report = subprocess.run(command, input=listing, capture_output=True, text=True, check=True)
    return int(re.findall(r"Total Cycles: +(\d+)", report.stdout)[0]) / runs


# Dot products a cycle, by the same models.
@pytest.mark.parametrize(
    ("name", "cpu", "peak"), [("arm_dotprod", "neoverse-n1", 2), ("arm_i8mm", "neoverse-v1", 4)]
)
@pytest.mark.parametrize("kernel", [1, 3])
def test_inner_loops_reach_most_of_the_lanes_peak(
    name: str, cpu: str, peak: int, kernel: int, tmp_path: Path
) -> None:
    """By LLVM's model of the pipelines, which knows no caches."""
    body = inner_loop(name, tmp_path, kernel)
    assert count(body)["dot"] / cycles_of(body, "aarch64", cpu) >= 0.7 * peak
