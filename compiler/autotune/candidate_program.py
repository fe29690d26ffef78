"""A program whose layers are the candidates: its profile is their measurement, on any device.

All read one input and write one output. Each inference runs the first candidate of every layer,
then the second of every layer, and so on: a drifting machine treats candidates alike, and between
two of one layer the caches see other layers, as in a network.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

from edgekiln.compiler.aot.build import build
from edgekiln.compiler.ir.program import Arg, Call, Const, In, Out, Program
from edgekiln.compiler.kernels.types import Kernel
from edgekiln.compiler.pipeline.object_cache import ObjectCache
from edgekiln.runtime.bundle import write_lib
from edgekiln.runtime.manifest import TensorSpec
from edgekiln.targets.profile import Memory, TargetProfile

if TYPE_CHECKING:
    from edgekiln.runtime.device.device import Device

LayerCosts = list[list[float]]  # of each layer, of each of its candidates

_TRIAL_SECONDS = 0.01  # of whole inferences, which nobody looks at: the profile follows


@dataclass(frozen=True, kw_only=True)
class CandidateProgram:
    """Candidates of several layers, compiled into one program."""

    file: Path
    target: TargetProfile
    sizes: tuple[int, ...]  # candidates of each layer

    def measure(self, device: "Device | None") -> tuple[LayerCosts, str]:
        """Medians over the inferences of a few seconds, in seconds; and on which CPU.

        Raises:
            EdgeKilnError: as `runtime.bench.bench`.
        """
        from edgekiln.runtime.bench import bench

        # One trial, for whoever asks repeats them and sees how they differ.
        result = bench(self.file, trials=1, min_seconds=_TRIAL_SECONDS, profile=True, device=device)
        seconds = {layer.name: layer.latency_s for layer in result.layers}
        return self._by_layer(seconds), result.machine.cpu

    def estimate(self) -> tuple[LayerCosts, str]:
        """Cycles, estimated without the device (see `compiler.estimate`); and by which model.

        Raises:
            EdgeKilnError: as `compiler.estimate.program.program`.
        """
        from edgekiln.compiler.estimate.program import program

        result = program(self.file, target=self.target)
        cycles = {layer.name: layer.cycles for layer in result.layers}
        return self._by_layer(cycles), f"{result.method}, {result.model}"

    def _by_layer(self, costs: Mapping[str, float]) -> LayerCosts:
        return [
            [costs[_name(layer, index)] for index in range(size)]
            for layer, size in enumerate(self.sizes)
        ]


def prepare(
    layers: Sequence[Sequence[Kernel]], target: TargetProfile, cache: ObjectCache, home: Path
) -> CandidateProgram:
    """Compile the candidates of each layer; the program lies in `home`."""
    program = Program(
        name="tuning",
        # As long as the longest operand, and result, of any candidate; a kernel's last tensor is
        # its result.
        inputs=(_bytes("x", max(max(k.tensors[:-1]) for each in layers for k in each)),),
        outputs=(_bytes("y", max(k.tensors[-1] for each in layers for k in each)),),
        buffers=(),
        calls=tuple(_calls(layers)),
        model_sha256="",
    )
    file = home / "tuning.lib"
    built = build(program, _with_room(target), cache)
    write_lib(file, built.files)
    return CandidateProgram(file=file, target=target, sizes=tuple(map(len, layers)))


def _with_room(target: TargetProfile) -> TargetProfile:
    """All candidates need more memory than the microcontroller that will run one of each has: they
    may fill the emulated board.
    """
    if target.board is None:
        return target
    memory = Memory(flash_bytes=target.board.code_bytes, ram_bytes=target.board.ram_bytes)
    return replace(target, memory=memory)


def _calls(layers: Sequence[Sequence[Kernel]]) -> Iterator[Call]:
    for index, row in enumerate(zip_longest(*layers)):
        for layer, kernel in enumerate(row):
            if kernel is None:
                continue
            # All inputs are the first bytes of the one: how long a kernel takes does not depend on
            # values.
            inputs: list[Arg] = [In(index=0)] * (len(kernel.tensors) - 1)
            constants = [Const(array=array) for array in kernel.constants]
            yield Call(
                name=_name(layer, index),
                op="candidate",
                code=kernel.code,
                args=(*inputs, *constants, Out(index=0)),
                work=kernel.work,
            )


def _name(layer: int, index: int) -> str:
    return f"{layer}:{index}"


def _bytes(name: str, size: int) -> TensorSpec:
    return TensorSpec(name=name, shape=(1, size), dtype="uint8")
