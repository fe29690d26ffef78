"""How many steps of k a model's weights leave to pairs of bytes on x86 without VNNI.

    python -m edgekiln.benchmarks.pairs MODEL-int8.onnx …

PMADDUBSW is exact where two neighbouring weights' magnitudes sum to at most 128. A step is four
elements of k for the eight channels of a register. *unsafe*: the share of steps with a pair that is
too large in some channel, in the order in which k lies in memory; *picked*: the share of the steps
that take their four elements out of 16, as `compiler/kernels/conv2d/pairing.py` cuts k; *more*: how
many steps that makes, against the natural order's. Of depthwise convolutions, *unsafe* are the
columns of three rows whose magnitudes sum to more than 256.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.ir.graph import Graph
from edgekiln.compiler.ir.linear import Conv2d, Dense
from edgekiln.compiler.kernels.conv2d.pairing import WORD, steps_of
from edgekiln.compiler.kernels.conv2d.plan import is_flat
from edgekiln.compiler.passes.pipeline import lowered
from edgekiln.targets import profile
from edgekiln.targets.isa.x86_pairs import MOST_OF_PAIR

TARGET = "x86-64-v3"
CHANNELS = 8  # of a register of 256 bits
_NAME = 32  # characters of a layer's name that are shown
_ROWS = 3  # of a depthwise filter that are multiplied together


@dataclass(frozen=True, kw_only=True)
class PairedLayer:
    """What the weights of a layer allow.

    Args:
        steps: of k in natural order, over all blocks of channels; columns of a depthwise layer.
        unsafe: how many of them have a pair that is too large.
        cut: steps when k is cut so that no pair is.
        picked: how many of these take elements that do not lie side by side.
    """

    name: str
    steps: int
    unsafe: int
    cut: int
    picked: int


def main() -> None:
    """Print a table for each model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", type=Path, nargs="+")
    for model in parser.parse_args().models:
        graph, _ = lowered(model, profile.load(TARGET))
        print(f"{model.name}\n\n{shown([*layers(graph)])}\n")


def layers(graph: Graph) -> Iterator[PairedLayer]:
    """The layers of codes with constant weights, in the order of the graph."""
    for node in graph.nodes:
        op = node.op
        if not isinstance(op, Conv2d | Dense) or op.on_floats:
            continue
        weight = np.asarray(op.weight, np.int8)
        if isinstance(op, Conv2d) and weight.shape[1] == 1 < op.groups:
            yield _depthwise(node.name, weight)
        else:
            yield _convolution(node.name, op, weight)


def shown(found: list[PairedLayer]) -> str:
    """The layers, and all together, as a table of Markdown."""
    every = PairedLayer(
        name="all",
        **{
            key: sum(getattr(each, key) for each in found)
            for key in ("steps", "unsafe", "cut", "picked")
        },
    )
    rows = [
        (
            each.name if len(each.name) <= _NAME else f"…{each.name[-_NAME:]}",
            f"{each.steps:,}",
            _share(each.unsafe, each.steps),
            _share(each.picked, each.cut),
            _share(each.cut - each.steps, each.steps),
        )
        for each in (*found, every)
    ]
    header = [("layer", "steps", "unsafe", "picked", "more"), ("---",) * 5]
    return "\n".join(f"| {' | '.join(row)} |" for row in (*header, *rows))


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "-"


def _convolution(name: str, op: Conv2d | Dense, weight: NDArray[np.int8]) -> PairedLayer:
    """Args:
    weight: (OC, IC/groups, KH, KW), or (OC, IC) of a dense layer.
    """
    groups, taps = 1, 1
    if isinstance(op, Conv2d):
        groups, (kh, kw) = op.groups, weight.shape[2:]
        taps = kh if is_flat(groups, kw, op.window.dilations[1]) else kh * kw
    counts = np.zeros(4, np.int64)
    # k as the image has it: (tap, element).
    flat = np.moveaxis(weight, 1, -1).reshape(len(weight), -1)
    for group in np.split(flat, groups):
        for start in range(0, len(group), CHANNELS):
            block = group[start : start + CHANNELS]
            cut = steps_of(block, taps)
            steps, unsafe = _natural(block.reshape(len(block), taps, -1))
            picked = len(cut.picked)
            counts += (steps, unsafe, len(cut.natural) + picked, picked)
    steps, unsafe, cut_steps, picked = counts.tolist()
    return PairedLayer(name=name, steps=steps, unsafe=unsafe, cut=cut_steps, picked=picked)


def _natural(block: NDArray[np.int8]) -> tuple[int, int]:
    """The steps of a block, (channels, taps, elements), and how many of them are unsafe."""
    channels, taps, run = block.shape
    sizes = np.zeros((channels, taps, -(-run // WORD) * WORD), np.int16)
    sizes[:, :, :run] = np.abs(block.astype(np.int16))
    pairs = sizes.reshape(channels, -1, WORD // 2, 2).sum(axis=3)
    unsafe = (pairs > MOST_OF_PAIR).any(axis=(0, 2))
    return len(unsafe), int(unsafe.sum())


def _depthwise(name: str, weight: NDArray[np.int8]) -> PairedLayer:
    """Args:
    weight: (C, 1, KH, KW).
    """
    sizes = np.abs(weight[:, 0].astype(np.int16))
    columns = np.add.reduceat(sizes, np.arange(0, sizes.shape[1], _ROWS), axis=1)
    unsafe = int((columns > 2 * MOST_OF_PAIR).sum())
    return PairedLayer(name=name, steps=columns.size, unsafe=unsafe, cut=columns.size, picked=0)


if __name__ == "__main__":
    main()
