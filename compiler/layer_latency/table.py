"""The latency of a network's layers as a function of their widths: a grid of measured points a
layer, and straight lines between them.
"""

import bisect
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, islice
from typing import TYPE_CHECKING, Self

from edgekiln.compiler.kernels.tile import VERSION
from edgekiln.compiler.layer_latency.geometry import LayerCall, LayerGeometry
from edgekiln.compiler.layer_latency.layers_model import SizedLayer
from edgekiln.compiler.layer_latency.measure import MeasuredLayers, measure, measures
from edgekiln.compiler.pipeline.object_cache import ObjectCache
from edgekiln.compiler.pipeline.stage import Advance
from edgekiln.compiler.tuning import table as tuning
from edgekiln.compiler.tuning.table import Choices, Unit
from edgekiln.runtime import codec, host

if TYPE_CHECKING:
    from edgekiln.runtime.device.device import Device
    from edgekiln.targets.profile import TargetProfile

# Of the full width. Between them costs are nearly straight; each further one is a column and a row
# of kernels to compile.
_PARTS = (0.25, 0.5, 1.0)


@dataclass(frozen=True, kw_only=True)
class WidthGrid:
    """Costs of one layer at some widths. A depthwise one has a single column: its inputs' width
    follows.
    """

    outputs: tuple[int, ...]  # rising
    inputs: tuple[int, ...]
    costs: tuple[tuple[float, ...], ...]  # a row for each of `outputs`; never falling along either

    def cost(self, inputs: int, outputs: int) -> float:
        """Between points bilinear; below the lowest in proportion to it."""
        column = [_between(self.inputs, row, inputs) for row in self.costs]
        return _between(self.outputs, column, outputs)


@dataclass(frozen=True, kw_only=True)
class LatencyTable:
    """The latencies of one network's layers on one target."""

    target: str
    unit: Unit
    method: str  # on which CPU the points were measured, or how they were estimated
    grids: Mapping[str, WidthGrid]  # by layer, of one call
    calls: Mapping[str, int]
    missing: tuple[str, ...]  # layers without a kernel that can be looked at

    @property
    def estimated(self) -> bool:
        """Whether nobody measured anything."""
        return self.unit == "cycles"

    def cost(self, name: str, inputs: int, outputs: int) -> float:
        """What all calls of a layer cost in one inference; 0 of a missing one."""
        grid = self.grids.get(name)
        return 0.0 if grid is None else self.calls[name] * grid.cost(inputs, outputs)


def latency_table(
    calls: Mapping[str, LayerCall],
    target: "TargetProfile",
    *,
    multiple: int,
    device: "Device | None" = None,
    place: str = "",
    cache: ObjectCache,
    advance: Advance,
) -> LatencyTable:
    """Measure or estimate the layers `calls` at some widths up to their own.

    What was measured before of such a layer, on such a target and machine, is read from `cache`.

    Args:
        multiple: widths below the full one are multiples of it.
        place: the device's address, which tells measurements on several apart.

    Raises:
        EdgeKilnError: as `measure`.
    """
    kinds = {name: _Kind.of(call, multiple) for name, call in calls.items()}
    file = tuning.file_for("", target)
    choices = Choices.of(tuning.read(file) if file else (), target)
    where = place or (host.machine().cpu if measures(target, device) else "estimated")
    circumstances = json.dumps([codec.to_json(target), where, VERSION, sorted(choices.rows)])
    known: dict[_Kind, MeasuredLayers] = {}
    for kind in kinds.values():
        if stored := cache.get(kind.key(circumstances)):
            known[kind] = codec.decode(MeasuredLayers, json.loads(stored))
    wanted = [kind for kind in dict.fromkeys(kinds.values()) if kind not in known]
    if wanted:
        sized = [layer for kind in wanted for layer in kind.sized]
        taken = measure(sized, target, device=device, choices=choices, cache=cache, advance=advance)
        left = iter(taken.costs)
        for kind in wanted:
            known[kind] = replace(taken, costs=tuple(islice(left, len(kind.sized))))
            cache.put(kind.key(circumstances), codec.to_json(known[kind]).encode())
    grids = {name: grid for name, kind in kinds.items() if (grid := kind.grid(known[kind].costs))}
    some = next(iter(known.values()), None)
    return LatencyTable(
        target=target.name,
        unit=some.unit if some else "s",
        method=some.method if some else "",
        grids=grids,
        calls={name: call.calls for name, call in calls.items()},
        missing=tuple(name for name in calls if name not in grids),
    )


@dataclass(frozen=True, kw_only=True)
class _Kind:
    """What layers have in common that cost the same, and the widths at which that is measured."""

    geometry: LayerGeometry
    outputs: tuple[int, ...]
    inputs: tuple[int, ...]  # of a depthwise layer the full width, and no axis

    @classmethod
    def of(cls, call: LayerCall, multiple: int) -> Self:
        geometry = call.geometry
        if geometry.multiplier:
            step = math.lcm(multiple, geometry.multiplier)
            return cls(geometry=geometry, outputs=_axis(call.outputs, step), inputs=(call.inputs,))
        step = math.lcm(multiple, geometry.groups)
        return cls(
            geometry=geometry,
            outputs=_axis(call.outputs, step),
            inputs=_axis(call.inputs, step),
        )

    @property
    def sized(self) -> list[SizedLayer]:
        """A layer a point, row by row."""
        geometry, multiplier = self.geometry, self.geometry.multiplier
        return [
            SizedLayer(
                geometry=geometry,
                inputs=outputs // multiplier if multiplier else inputs,
                outputs=outputs,
            )
            for outputs in self.outputs
            for inputs in self.inputs
        ]

    def grid(self, costs: Sequence[float | None]) -> WidthGrid | None:
        """The costs in rows; what scatters downwards is raised to its smaller neighbour."""
        known = [cost for cost in costs if cost is not None]
        if len(known) < len(costs):
            return None
        width = len(self.inputs)
        rows = [known[i : i + width] for i in range(0, len(known), width)]
        along = [tuple(accumulate(row, max)) for row in rows]
        across = [tuple(accumulate(column, max)) for column in zip(*along, strict=True)]
        return WidthGrid(
            outputs=self.outputs,
            inputs=self.inputs,
            costs=tuple(zip(*across, strict=True)),
        )

    def key(self, circumstances: str) -> str:
        """The costs' name in a cache; `circumstances`: all that they depend on besides."""
        text = json.dumps(["latency", codec.encode(self), circumstances], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def _axis(full: int, step: int) -> tuple[int, ...]:
    """Parts of the full width, in whole steps."""
    steps = {min(full, max(step, round(part * full / step) * step)) for part in _PARTS}
    return tuple(sorted(steps))


def _between(places: Sequence[int], values: Sequence[float], at: int) -> float:
    """On the straight lines through the points; below the first on the line from zero."""
    right = bisect.bisect_left(places, at)
    if right == len(places):
        return values[-1]
    if right == 0:
        return values[0] * at / places[0]
    part = (at - places[right - 1]) / (places[right] - places[right - 1])
    return values[right - 1] + part * (values[right] - values[right - 1])
