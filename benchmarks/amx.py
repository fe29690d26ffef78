"""ResNet-18's convolutions on AMX, estimated where there is none: a share of the tile unit's peak.

    python benchmarks/amx.py

TDPBUSD takes 16 cycles, 1,024 products each; a tile load 8, a store 16 (Intel 64 and IA-32
Architectures Optimization Reference Manual, chapter on Intel AMX). LLVM 19 has no model of these
instructions, but one of Sapphire Rapids' vectors: llvm-mca's cycles of the loop over a tile's
results are the epilogue's. `beside` is the share if it runs wholly beside the products, as the code
allows; `after` if it waits for them, as it must not. No caches, no memory, no clock: weights are
taken to come as fast as from the first cache.
"""

import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgekiln.compiler.aot.codegen import compile_function
from edgekiln.compiler.estimate import mca, tools
from edgekiln.compiler.ir.memory import Halo, Nhwc
from edgekiln.compiler.kernels.conv2d.kernel import ConvolutionKernel
from edgekiln.compiler.kernels.conv2d.matrix_plan import MatrixPlan
from edgekiln.compiler.kernels.epilogue.finish import RequantizeFinish
from edgekiln.targets import isa, profile

PEAK = 1024  # products a cycle
PIPELINE = mca.Pipeline(triple="x86_64", cpu="sapphirerapids", jump="jmp 1")
# A line of llvm-objdump: "      1f: \tvpaddd ... # comment".
_INSTRUCTION = re.compile(r" *([0-9a-f]+): +\t?(.*?)(?: *#.*)?")

_ROUND = "cvtps2dq"  # once for each register of results


@dataclass(frozen=True)
class AmxLayer:
    name: str
    size: int  # of the input
    channels: tuple[int, int]
    kernel: int
    stride: int = 1


LAYERS = (
    AmxLayer("7×7/2 3→64, 224×224", 224, (3, 64), 7, 2),
    AmxLayer("3×3 64→64, 56×56", 56, (64, 64), 3),
    AmxLayer("3×3/2 64→128, 56×56", 56, (64, 128), 3, 2),
    AmxLayer("1×1/2 64→128, 56×56", 56, (64, 128), 1, 2),
    AmxLayer("3×3 128→128, 28×28", 28, (128, 128), 3),
    AmxLayer("3×3/2 128→256, 28×28", 28, (128, 256), 3, 2),
    AmxLayer("3×3 256→256, 14×14", 14, (256, 256), 3),
    AmxLayer("3×3/2 256→512, 14×14", 14, (256, 512), 3, 2),
    AmxLayer("3×3 512→512, 7×7", 7, (512, 512), 3),
    AmxLayer("1×1 64→256, 56×56 (ResNet-50)", 56, (64, 256), 1),
)


def convolution(layer: AmxLayer) -> ConvolutionKernel:
    """The convolution with "same" padding, into an image that is padded, too."""
    pad, (ic, oc) = layer.kernel // 2, layer.channels
    # Keyword arguments of `conv2d`.
    common: dict[str, Any] = {"n": 1, "dtype": "uint8", "scale": 0.1, "zero_point": 0}
    border = Halo(top=pad, left=pad, bottom=pad, right=pad)
    out = (layer.size + 2 * pad - layer.kernel) // layer.stride + 1
    return ConvolutionKernel(
        x=Nhwc(h=layer.size, w=layer.size, c=ic, halo=border, **common),
        y=Nhwc(h=out, w=out, c=oc, halo=border, **common),
        weight=np.ones((oc, ic, layer.kernel, layer.kernel), np.int8),
        bias=np.zeros(oc, np.int32), finish=RequantizeFinish(mult=np.full(oc, 1e-3, np.float32)),
        strides=(layer.stride, layer.stride), pads=(pad, pad),
    )  # fmt: skip


def instructions(code: bytes) -> dict[int, str]:
    with tempfile.TemporaryDirectory() as home:
        path = Path(home, "kernel.o")
        path.write_bytes(code)
        command = [tools.llvm_tool("llvm-objdump"), "-d", "--no-show-raw-insn", str(path)]
        text = subprocess.check_output(command, text=True)
    found = (match for line in text.splitlines() if (match := _INSTRUCTION.fullmatch(line)))
    return {
        int(match[1], 16): re.sub(r" <.*>", "", match[2].replace("\t", " ")).strip()
        for match in found
    }


def results_loop(code: dict[int, str]) -> tuple[str, ...]:
    """The innermost loop that rounds results."""
    loops = []
    for at, text in code.items():
        jump = re.match(r"j\w+ +(?:0x)?([0-9a-f]+)$", text)
        if jump and (start := int(jump[1], 16)) <= at:
            body = tuple(i for place, i in code.items() if start <= place <= at)
            if any(_ROUND in i for i in body):
                loops.append(body)
    # The innermost one holds no other.
    shortest = min(loops, key=len)
    # A jump names an address of the object, which the listing for llvm-mca has not: any will do.
    return tuple(re.sub(r"^(j\w+) .*", r"\1 1", i) for i in shortest)


def estimate(layer: AmxLayer) -> tuple[str, float, float]:
    """The tile, and the shares of the peak `beside` and `after`."""
    conv, target = convolution(layer), profile.load("x86-amx")
    mk = isa.load(target.isa)
    plan = MatrixPlan(conv, mk)
    unit, tile = plan.unit, plan.tile
    steps = plan.taps * plan.tap_steps
    products = loads = stores = 0.0
    for block in plan.layout:
        across = block.channels // unit.columns
        each = block.count * plan.work
        # A step multiplies every tile of pixels by every tile of weights; each of them is loaded
        # once.
        products += each * steps * tile.down * across * unit.dot_cycles
        loads += each * steps * (tile.down + across) * unit.load_cycles
        stores += each * tile.splits * tile.down * across * unit.store_cycles
    code = instructions(compile_function(conv.build(mk).func, "kernel", target.tvm).object)
    body = results_loop(code)
    registers = sum(_ROUND in instruction for instruction in body)  # of results
    per_pixel = mca.cycles([body], PIPELINE).of[body] / registers * tile.across
    blocks = sum(block.count for block in plan.layout)
    results = per_pixel * conv.y.h * conv.y.w * blocks
    ideal = conv.y.h * conv.y.w * conv.weight.size / PEAK
    name = f"{tile.down}×{tile.across} of {tile.rows}" + f", {tile.splits} sums" * (tile.splits > 1)
    beside = max(products, loads, stores, results)
    # `after`: the vectors' work waits for the products, so that times add up.
    return name, ideal / beside, ideal / (products + stores + results)


def main() -> None:
    print("| layer | tile | beside | after |\n|---|---|---|---|")
    for layer in LAYERS:
        name, beside, after = estimate(layer)
        print(f"| {layer.name} | {name} | {beside:.0%} | {after:.0%} |")


if __name__ == "__main__":
    main()
