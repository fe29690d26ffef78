"""What is known of a GPU's program without the GPU: counts, and no time."""

from dataclasses import dataclass

from edgekiln.compiler.aot.planner import nbytes
from edgekiln.runtime.manifest import Layer, ProgramSpec
from edgekiln.targets import profile
from edgekiln.targets.profile import TargetProfile

METHOD = "counted"


@dataclass(frozen=True, kw_only=True)
class CountedLaunch:
    """One launch of a kernel."""

    name: str
    op: str
    macs: int
    result_bytes: int  # without the border; 0: the program does not say


@dataclass(frozen=True, kw_only=True)
class GpuCounts:
    """The launches of a run, and the least that it moves: `method` says that none is measured."""

    method: str = METHOD
    program: str
    target: str
    launches: tuple[CountedLaunch, ...]
    macs: int
    weights_bytes: int
    # A bound: every input, output and weight once, and what lies between twice, written and read.
    least_moved_bytes: int


def count(spec: ProgramSpec, target: TargetProfile | None = None) -> GpuCounts | None:
    """The counts of a program; None: no GPU runs it.

    Args:
        target: what it was built for; None: the profile that the program names.

    Raises:
        ConfigError: no such profile.
    """
    target = target or profile.load(spec.target)
    return counts_of(spec) if target.gpu else None


def counts_of(spec: ProgramSpec) -> GpuCounts:
    """The counts of a program for a GPU."""
    launches = tuple(map(_launch, spec.layers))
    edges = sum(map(nbytes, (*spec.inputs, *spec.outputs)))
    between = sum(
        launch.result_bytes
        for launch, layer in zip(launches, spec.layers, strict=True)
        if layer.offset is not None
    )
    return GpuCounts(
        program=spec.name,
        target=spec.target,
        launches=launches,
        macs=sum(launch.macs for launch in launches),
        weights_bytes=spec.weights_bytes,
        least_moved_bytes=edges + spec.weights_bytes + 2 * between,
    )


def _launch(layer: Layer) -> CountedLaunch:
    result = nbytes(layer.output) if layer.output else 0
    return CountedLaunch(name=layer.name, op=layer.op, macs=layer.macs, result_bytes=result)
