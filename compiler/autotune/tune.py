"""Measure the register tiles that look best for each kind of layer, and keep the fastest."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgekiln.compiler.autotune.candidate_program import CandidateProgram, LayerCosts, prepare
from edgekiln.compiler.autotune.tile_verdict import TileVerdict
from edgekiln.compiler.kernels.tile import VERSION, Tile
from edgekiln.compiler.kernels.types import Kernel
from edgekiln.compiler.pipeline.object_cache import ObjectCache
from edgekiln.compiler.pipeline.stage import Advance, silent
from edgekiln.compiler.tuning.table import Choices, TunableLayer, TuningRow, Unit
from edgekiln.runtime.errors import UnsupportedError
from edgekiln.targets import isa
from edgekiln.targets.detect import runs_here
from edgekiln.targets.profile import HOST, TargetProfile

if TYPE_CHECKING:
    from edgekiln.runtime.device.device import Device

CANDIDATES = 12  # of a layer: the model of `kernels.tile` ranks better than it predicts
STEADY = 3  # trials in a row that give the same choice end the measurement


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """A row for each kind of layer, and how many calls of the network are of it."""

    rows: tuple[TuningRow, ...]
    calls: tuple[int, ...]
    undecided: int  # rows whose default stays because what looked faster varied by more than it won
    trials: int
    method: str  # on what the costs were measured, or how estimated

    @property
    def gain(self) -> float:
        """What all the calls together cost by default, over what they cost when tuned."""
        weighted = [*zip(self.calls, self.rows, strict=True)]
        before = sum(count * row.default_cost for count, row in weighted)
        return before / sum(count * row.tile_cost for count, row in weighted)


def tune(
    model: Path,
    target: TargetProfile,
    *,
    trials: int,
    device: "Device | None" = None,
    compact: bool = False,
    objects: Path | None = None,
    advance: Advance = silent,
) -> Tuned:
    """Tune every kind of layer of a model, QDQ or float.

    Args:
        trials: how many to take at most; fewer are enough when the last `STEADY` agree.
        device: where to measure; None: here. An emulated device, or a target that cannot run here,
            gives estimates.
        compact: the layers of a program that is compiled so.
        objects: where compiled candidates are kept.

    Raises:
        InputError: not a model that can be read.
        UnsupportedError: it has no layer with a choice; it is for a GPU; or `device` would have to
            measure a microcontroller.
        EdgeKilnError: the device cannot be reached, or cannot run the target's programs.
    """
    if target.gpu:
        raise UnsupportedError(
            f"{target.name}: a GPU's kernels have no register tiles to choose from",
            "build without tuning: how many pixels a thread takes follows from the layer",
        )
    if target.kind == "microcontroller" and device and device.measures:
        raise UnsupportedError(
            f"{target.name}: {device.name} cannot measure a microcontroller's programs",
            "leave out --device: its candidates are estimated",
        )
    choices = _layers(model, target, compact)
    # The default stands first in what `tiles` gives, so it is always among the candidates.
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
    verdicts = _verdicts(taken)
    return Tuned(
        rows=tuple(
            layer.row(verdict, target, method, unit)
            for layer, verdict in zip(layers, verdicts, strict=True)
        ),
        calls=tuple(len(layer.layer.calls) for layer in layers),
        undecided=sum(verdict.undecided for verdict in verdicts),
        trials=len(taken),
        method=method,
    )


@dataclass(frozen=True, kw_only=True)
class _Candidates:
    """A kind of layer and the tiles to try, the default first."""

    key: str
    layer: TunableLayer
    tiles: Sequence[Tile]

    def kernels(self) -> list[Kernel]:
        kernel, mk = self.layer.kernel, self.layer.mk
        return [
            replace(kernel, tile=tile).build(mk)  # type: ignore[type-var]  # all are dataclasses
            for tile in self.tiles
        ]

    def row(
        self, verdict: TileVerdict, target: TargetProfile, method: str, unit: Unit
    ) -> TuningRow:
        return TuningRow(
            layer=self.layer.kernel.label,
            # "host" is another chip elsewhere: the row is for the chip that this machine has.
            target=target.base if target.name == HOST else target.name,
            version=VERSION,
            signature=self.key,
            method=method,
            unit=unit,
            default=self.tiles[0],
            default_cost=verdict.costs[0],
            tile=self.tiles[verdict.chosen],
            tile_cost=verdict.costs[verdict.chosen],
            gain_spread=verdict.gain_spreads[verdict.chosen],
        )


def _layers(model: Path, target: TargetProfile, compact: bool) -> Choices:
    """The layers of a model that have a choice."""
    from edgekiln.compiler.lowering.lower import lower
    from edgekiln.compiler.onnx_model import io
    from edgekiln.compiler.passes.pipeline import lowered

    mk = isa.load(target.isa)
    graph, _ = lowered(model, target)
    choices = Choices()
    meta = io.read_meta(io.load_model(model))
    lower(
        graph, mk, target.tvm, name="tuning", meta=meta, model_sha256="", choices=choices,
        compact=compact,
    )  # fmt: skip
    return choices


def _take(
    trial: CandidateProgram, trials: int, device: "Device | None", advance: Advance
) -> tuple[list[LayerCosts], str, Unit]:
    """The costs of each trial, what they were taken on, and their unit."""
    measures = runs_here(trial.target).fits if device is None else device.measures
    if not measures:
        advance(1, 2, "estimating")
        costs, method = trial.estimate()  # the same every time
        return [costs], method, "cycles"
    taken: list[LayerCosts] = []
    chosen: list[list[int]] = []
    while len(taken) < trials and not _is_steady(chosen):
        advance(1 + len(taken), trials + 1, f"trial {len(taken) + 1}")
        costs, method = trial.measure(device)
        taken.append(costs)
        chosen.append([verdict.chosen for verdict in _verdicts(taken)])
    return taken, method, "s"


def _verdicts(taken: Sequence[LayerCosts]) -> list[TileVerdict]:
    """The verdict on each layer."""
    return [TileVerdict.of(layer) for layer in zip(*taken, strict=True)]


def _is_steady(chosen: Sequence[Sequence[int]]) -> bool:
    return len(chosen) >= STEADY and all(each == chosen[-1] for each in chosen[-STEADY:])
