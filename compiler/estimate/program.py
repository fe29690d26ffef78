"""Estimate a bundle, layer by layer."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from edgekiln.compiler.aot.backends.backend import ARCHIVE, HEADER
from edgekiln.compiler.aot.planner import nbytes
from edgekiln.compiler.estimate import instruction_counter, tools
from edgekiln.compiler.estimate.cost import Cost, costs, method, peak_macs_per_cycle, pipeline
from edgekiln.compiler.pipeline.stage import Advance, silent
from edgekiln.runtime.bundle import ProgramFile, example_name
from edgekiln.runtime.errors import BundleError
from edgekiln.runtime.manifest import Layer
from edgekiln.targets import profile
from edgekiln.targets.profile import TargetProfile

_MAIN = "program.c"


@dataclass(frozen=True, kw_only=True)
class LayerEstimate:
    """One kernel call of a program."""

    name: str
    op: str
    macs: int
    instructions: int
    cycles: float

    @property
    def macs_per_cycle(self) -> float:
        """How well it uses the multipliers."""
        return self.macs / max(self.cycles, 1.0)


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """The estimated cost of a program. `method` says wherever it is shown that it is estimated."""

    method: str
    program: str
    target: str
    model: str  # of the pipeline, by LLVM's name of a processor, e.g. "neoverse-n1"
    llvm: str  # LLVM's release, for the models change
    peak_macs_per_cycle: float  # of the micro-kernel's dot products
    unknown_share: float  # of the instructions: the model lacks them, each is taken as one cycle
    layers: tuple[LayerEstimate, ...]
    total: LayerEstimate


def program(
    given: Path | ProgramFile,
    *,
    target: TargetProfile | None = None,
    model: str = "",
    advance: Advance = silent,
) -> Estimate:
    """Count a bundle's or lib's instructions and estimate their cycles.

    Args:
        given: the file, or one that was read, and verified where that is demanded.
        target: what it was built for; None: the profile that the program names.
        model: LLVM's name of a processor; "": the profile's.

    Raises:
        BundleError: damaged, or without its library.
        MissingToolError: a compiler, QEMU or LLVM is not installed.
        UnsupportedError: nothing here can count the target's instructions, or no model is named.
        ConfigError: no such profile, or LLVM has no such model.
    """
    opened = given if isinstance(given, ProgramFile) else ProgramFile.open(given)
    path, spec, contents = opened.path, opened.spec, opened.files
    target = target or profile.load(spec.target)
    pipe = pipeline(target, model)
    if ARCHIVE not in contents:
        raise BundleError(f"{path}: has no {ARCHIVE}", "build it again")
    advance(0, 2, "counting instructions")
    with tempfile.TemporaryDirectory(prefix="edgekiln-estimate-") as directory:
        home = Path(directory)
        (home / _MAIN).write_bytes(instruction_counter.source(_MAIN))
        for name in (ARCHIVE, HEADER):
            (home / name).write_bytes(contents[name])
        inputs = []
        for index, tensor in enumerate(spec.inputs):
            inputs.append(f"input_{index}.bin")
            example = contents.get(example_name("input", index))
            (home / inputs[-1]).write_bytes(example or bytes(nbytes(tensor)))
        executed = instruction_counter.run(target, home, _MAIN, [ARCHIVE], *inputs)
    advance(1, 2, "adding cycles up")
    of, cpu = costs(executed, pipe)
    nothing = Cost(instructions=0, cycles=0.0, unknown=0)
    every = [of.get(index, nothing) for index in range(len(spec.layers))]
    layers = tuple(map(_layer, spec.layers, every))
    total = LayerEstimate(
        name="total",
        op="",
        macs=sum(layer.macs for layer in layers),
        instructions=sum(layer.instructions for layer in layers),
        cycles=sum(layer.cycles for layer in layers),
    )
    return Estimate(
        method=method(pipe),
        program=spec.name,
        target=target.name,
        model=cpu,
        llvm=tools.llvm_release(),
        peak_macs_per_cycle=peak_macs_per_cycle(target),
        unknown_share=sum(cost.unknown for cost in every) / max(total.instructions, 1),
        layers=layers,
        total=total,
    )


def _layer(layer: Layer, cost: Cost) -> LayerEstimate:
    return LayerEstimate(
        name=layer.name,
        op=layer.op,
        macs=layer.macs,
        instructions=cost.instructions,
        cycles=cost.cycles,
    )
