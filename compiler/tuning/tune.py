"""Measure the register tiles that look best for each kind of layer, and keep the fastest."""

import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekiln.compiler.aot.cache import ObjectCache
from edgekiln.compiler.kernels.spec import Kernel
from edgekiln.compiler.kernels.tile import VERSION, Tile
from edgekiln.compiler.stage import Advance, silent
from edgekiln.compiler.tuning.table import Choices, Layer, Row, Unit
from edgekiln.compiler.tuning.trial import Costs, Trial, prepare
from edgekiln.runtime.errors import UnsupportedError
from edgekiln.targets import isa
from edgekiln.targets.detect import runs_here
from edgekiln.targets.profile import HOST, TargetProfile

if TYPE_CHECKING:
    from edgekiln.runtime.device.device import Device

CANDIDATES = 8  # of a layer: the model of `kernels.tile` ranks better than it predicts
STEADY = 3  # trials in a row that give the same choice end the measurement
_WORTH = 1.02  # a tile that is not better by this is not worth a change from the default
_TOLD_S = 5e-8  # what clocks can tell of one call


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """A row for each kind of layer, and how many calls of the network are of it."""

    rows: tuple[Row, ...]
    calls: tuple[int, ...]
    trials: int
    method: str  # on what the costs were measured, or how estimated

    @property
    def gain(self) -> float:
        """Of all the calls: cost by default over tuned cost."""
        weighted = [*zip(self.calls, self.rows, strict=True)]
        before = sum(count * row.default_cost for count, row in weighted)
        return before / sum(count * row.tile_cost for count, row in weighted)


def tune(
    model: Path,
    target: TargetProfile,
    *,
    trials: int,
    device: "Device | None" = None,
    objects: Path | None = None,
    advance: Advance = silent,
) -> Tuned:
    """Tune every kind of layer of a model, QDQ or float.

    Args:
        trials: at most; fewer when the last `STEADY` agree.
        device: where to measure; None: here. An emulated device, or a target that cannot run here,
            gives estimates.
        objects: where compiled candidates are kept.

    Raises:
        InputError: not a model that can be read.
        UnsupportedError: it has no layer with a choice.
        EdgeKilnError: the device cannot be reached, or cannot run the target's programs.
    """
    choices = _layers(model, target)
    layers = [
        _Candidates(key=key, layer=layer, tiles=layer.kernel.tiles(layer.mk)[:CANDIDATES])
        for key, layer in choices.layers.items()
    ]
    if not layers:
        raise UnsupportedError(
            f"{model}: no layer with a choice of tiles", "it needs no tuning: build it"
        )
    advance(0, trials + 1, f"compiling {sum(len(layer.tiles) for layer in layers)} candidates")
    built = [layer.kernels() for layer in layers]
    with tempfile.TemporaryDirectory(prefix="edgekiln-tune-") as home:
        trial = prepare(built, target, ObjectCache(root=objects), Path(home))
        taken, method, unit = _take(trial, trials, device, advance)
    rows = tuple(
        layer.row(costs, target, method, unit)
        for layer, costs in zip(layers, _medians(taken), strict=True)
    )
    calls = tuple(len(layer.layer.calls) for layer in layers)
    return Tuned(rows=rows, calls=calls, trials=len(taken), method=method)


@dataclass(frozen=True, kw_only=True)
class _Candidates:
    """A kind of layer and the tiles to try, the default first."""

    key: str
    layer: Layer
    tiles: Sequence[Tile]

    def kernels(self) -> list[Kernel]:
        kernel: Any = self.layer.kernel  # all of them are dataclasses
        return [replace(kernel, tile=tile).build(self.layer.mk) for tile in self.tiles]

    def row(self, costs: Sequence[float], target: TargetProfile, method: str, unit: Unit) -> Row:
        chosen = _choice(costs)
        return Row(
            layer=self.layer.kernel.label,
            target=target.base if target.name == HOST else target.name,
            version=VERSION,
            signature=self.key,
            method=method,
            unit=unit,
            default=self.tiles[0],
            default_cost=costs[0],
            tile=self.tiles[chosen],
            tile_cost=costs[chosen],
        )


def _layers(model: Path, target: TargetProfile) -> Choices:
    """The layers of a model that have a choice."""
    from edgekiln.compiler import onnx_meta
    from edgekiln.compiler.frontend import import_onnx
    from edgekiln.compiler.lowering.lower import lower
    from edgekiln.compiler.passes.pipeline import lower_graph

    mk = isa.load(target.isa)
    graph = import_onnx(model, 1)
    lower_graph(graph, mk.activation)
    choices = Choices()
    meta = onnx_meta.read_meta(onnx_meta.load_model(model))
    lower(graph, mk, target.tvm, name="tuning", meta=meta, model_sha256="", choices=choices)
    return choices


def _take(
    trial: Trial, trials: int, device: "Device | None", advance: Advance
) -> tuple[list[Costs], str, Unit]:
    """The costs of each trial, what they were taken on, and their unit."""
    measures = runs_here(trial.target).fits if device is None else device.measures
    if not measures:
        advance(1, 2, "estimating")
        costs, method = trial.estimate()  # the same every time
        return [costs], method, "cycles"
    taken: list[Costs] = []
    chosen: list[list[int]] = []
    while len(taken) < trials and not _is_steady(chosen):
        advance(1 + len(taken), trials + 1, f"trial {len(taken) + 1}")
        costs, method = trial.measure(device)
        taken.append(costs)
        chosen.append([_choice(medians) for medians in _medians(taken)])
    return taken, method, "s"


def _medians(taken: Sequence[Costs]) -> Costs:
    return [
        [statistics.median(one) for one in zip(*layer, strict=True)]
        for layer in zip(*taken, strict=True)
    ]


def _choice(costs: Sequence[float]) -> int:
    """The cheapest candidate, if it is worth it. (Whole cycles are always told.)"""
    best = min(range(len(costs)), key=costs.__getitem__)
    worth = costs[0] > _WORTH * costs[best] and costs[0] - costs[best] > _TOLD_S
    return best if worth else 0


def _is_steady(chosen: Sequence[Sequence[int]]) -> bool:
    return len(chosen) >= STEADY and all(each == chosen[-1] for each in chosen[-STEADY:])
