"""Layers of given widths, compiled for a target and measured there, or estimated."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from edgekiln.compiler.autotune.candidate_program import CandidateProgram, prepare
from edgekiln.compiler.layer_latency.layers_model import SizedLayer, layers_model
from edgekiln.compiler.pipeline.object_cache import NO_CACHE, ObjectCache
from edgekiln.compiler.pipeline.stage import Advance, silent
from edgekiln.compiler.tuning.table import Choices, Unit
from edgekiln.targets.detect import runs_here
from edgekiln.targets.profile import TargetProfile

if TYPE_CHECKING:
    from edgekiln.compiler.kernels.types import Kernel
    from edgekiln.runtime.device.device import Device

TRIALS = 3  # whose median counts
_MOST_KERNELS = 128  # of a program: its code must be compiled, and its inputs fit in memory


@dataclass(frozen=True, kw_only=True)
class MeasuredLayers:
    """Costs of layers, in the order that was asked for. None: a layer has no kernel of its own."""

    costs: tuple[float | None, ...]
    unit: Unit
    method: str  # on which CPU they were measured, or how they were estimated


def measures(target: TargetProfile, device: "Device | None") -> bool:
    """Whether `target`'s programs are measured on `device`, None: here; else estimated."""
    return runs_here(target).fits if device is None else device.measures


def measure(
    layers: Sequence[SizedLayer],
    target: TargetProfile,
    *,
    device: "Device | None" = None,
    choices: Choices | None = None,
    cache: ObjectCache = NO_CACHE,
    advance: Advance = silent,
) -> MeasuredLayers:
    """Measure or estimate what a call of each of `layers` costs.

    Args:
        choices: of register tiles, as a program would be compiled with them; None: the defaults.

    Raises:
        EdgeKilnError: the target's compiler, or what estimates its cycles, is missing; or the
            device cannot be reached.
    """
    choices = choices or Choices()
    costs: list[float | None] = []
    unit: Unit = "s" if measures(target, device) else "cycles"
    method = ""
    for begin in range(0, len(layers), _MOST_KERNELS):
        advance(begin, len(layers), f"latency of layers on {target.name}")
        chunk = layers[begin : begin + _MOST_KERNELS]
        kernels = _kernels(chunk, target, choices)
        found: list[float] = []
        if built := [kernel for kernel in kernels if kernel is not None]:
            with tempfile.TemporaryDirectory(prefix="edgekiln-latency-") as home:
                program = prepare([[kernel] for kernel in built], target, cache, Path(home))
                found, method = _take(program, unit, device)
        of_built = iter(found)
        costs.extend(None if kernel is None else next(of_built) for kernel in kernels)
    return MeasuredLayers(costs=tuple(costs), unit=unit, method=method)


def _take(
    program: CandidateProgram, unit: Unit, device: "Device | None"
) -> tuple[list[float], str]:
    """The cost of each kernel, and by what it was taken."""
    if unit == "cycles":
        rows, method = program.estimate()  # the same every time
        return [cost for row in rows for cost in row], method
    trials = [program.measure(device) for _ in range(TRIALS)]
    of_kernel = zip(*([row[0] for row in rows] for rows, _ in trials), strict=True)
    return [median(costs) for costs in of_kernel], trials[0][1]


def _kernels(
    layers: Sequence[SizedLayer], target: TargetProfile, choices: Choices
) -> "list[Kernel | None]":
    """The kernel that each layer becomes in a program; None where it has no choice of tiles, by
    which kernels are known.
    """
    from edgekiln.compiler.lowering.lower import lower
    from edgekiln.compiler.onnx_model import io
    from edgekiln.compiler.passes.pipeline import lowered
    from edgekiln.targets import isa

    model = layers_model(layers)
    own = Choices(rows=choices.rows)
    with tempfile.TemporaryDirectory(prefix="edgekiln-layers-") as home:
        path = Path(home, "layers.onnx")
        io.save_model(model, path)
        graph, _ = lowered(path, target)
    lower(
        graph, isa.load(target.isa), target.tvm, name="layers", meta=io.read_meta(model),
        model_sha256="", choices=own,
    )  # fmt: skip
    found: dict[str, Kernel] = {}
    for key, layer in own.layers.items():
        row = own.rows.get(key)
        kernel = layer.kernel if row is None else replace(layer.kernel, tile=row.tile)  # type: ignore[type-var]  # all are dataclasses
        found |= dict.fromkeys(layer.calls, kernel.build(layer.mk))
    return [found.get(str(place)) for place in range(len(layers))]
