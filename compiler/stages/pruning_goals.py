"""The budgets of a pruning as goals: what each may leave, and what it came to."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, TypeVar

from edgekiln.compiler.pruning.budget import ON_TARGETS, Budget, CostKind
from edgekiln.compiler.pruning.schedule import Schedule, kept_after
from edgekiln.runtime.errors import ConfigError, UnsupportedError
from edgekiln.runtime.text import human_bytes

if TYPE_CHECKING:
    from torch import nn

    from edgekiln.compiler.layer_latency.table import LatencyTable
    from edgekiln.compiler.pipeline.stage import StageContext
    from edgekiln.compiler.pruning.costs import CostOf, Goal, PrunableNetwork, WidthCost
    from edgekiln.compiler.pruning.layers import LayerShape
    from edgekiln.compiler.stages.target_costs import ProgramCosts
    from edgekiln.compiler.training.context import TrainingContext
    from edgekiln.targets.profile import TargetProfile

T = TypeVar("T")
_TARGET_COSTS = ("edgekiln", "compiler.stages.target_costs")
WORDS: Mapping[CostKind, str] = {
    "macs": "MACs",
    "parameters": "parameters",
    "bytes": "bytes of weights",
    "arena": "bytes of activations",
    "latency": "units of latency",
}


def target_costs() -> ModuleType:
    """The module of that name, which is imported where a budget asks a target; see there."""
    # No constant holds the whole name, by which keys would know of it.
    return import_module(".".join(_TARGET_COSTS))


@dataclass(frozen=True, kw_only=True)
class _Pursued:
    """A budget on its way, on one target where it is a target's."""

    kind: CostKind
    target: str
    share: float  # that may be left
    full: float  # of the unpruned network, as predicted
    cost_of: "CostOf"

    def goal(self, schedule: Schedule, done: int, rounds: int) -> "Goal":
        """What may be left after so many of all rounds."""
        from edgekiln.compiler.pruning.costs import Goal

        left = kept_after(schedule, rounds, self.share)[done - 1]
        return Goal(cost_of=self.cost_of, most=self.full * left)


@dataclass(kw_only=True)
class PruningGoals:
    """All budgets of one pruning."""

    context: "TrainingContext"  # of the unpruned network
    ctx: "StageContext"
    budgets: Sequence[Budget]
    targets: Sequence["TargetProfile"]  # whose programs are built; none: no budget asks for them
    device: str
    multiple: int
    data: str
    seed: int
    pursued: list[_Pursued] = field(default_factory=list)
    programs: dict[str, "ProgramCosts"] = field(default_factory=dict)  # of the unpruned network
    tables: dict[str, "LatencyTable"] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raises ConfigError, UnsupportedError, or what building a program for a target raises."""
        for target in self.targets:
            self.programs[target.name] = self._program(self.context, target)
            if self._timed:
                self.tables[target.name] = self._table(target)
        for budget in self.budgets:
            self.pursued.extend(self._pursue(budget))

    @property
    def _timed(self) -> bool:
        return any(budget.kind == "latency" for budget in self.budgets)

    @property
    def all_may_stay(self) -> bool:
        """Whether no budget asks for a cut."""
        return all(each.share >= 1 for each in self.pursued)

    def after(self, done: int, schedule: Schedule, rounds: int) -> "list[Goal]":
        """What may be left after `done` of all rounds."""
        return [each.goal(schedule, done, rounds) for each in self.pursued]

    def missed(self, module: "nn.Module") -> Iterator[str]:
        """A line for each budget that was not met, as far as predicted."""
        reached = self.reached(module)
        for each in self.pursued:
            left = reached[each.kind, each.target]
            if left > each.share:
                yield (
                    f"{left:.3f} of the {WORDS[each.kind]} are left, {each.share:g} were asked "
                    f"for: no more blocks of {self.multiple} channels may be cut"
                )

    def reached(self, module: "nn.Module") -> Mapping[tuple[CostKind, str], float]:
        """The share that is left of each budget's cost, as predicted, by kind and target."""
        network = self._network(module)
        return {
            (each.kind, each.target): each.cost_of(network).left(network.widths) / each.full
            for each in self.pursued
        }

    def metrics(self, module: "nn.Module") -> dict[str, float]:
        """What is left of the costs that are no counts of the module's own; of several targets
        the one of which most is left.
        """
        shares: dict[str, float] = {}
        for (kind, _), share in self.reached(module).items():
            if kind in ON_TARGETS:
                shares[f"{kind}_ratio"] = max(share, shares.get(f"{kind}_ratio", 0.0))
        return shares

    def compared(self, pruned: "TrainingContext") -> Iterator[tuple[str, dict[str, float]]]:
        """A line and figures for each target: the whole program before and after, beside what was
        predicted of it.
        """
        shares = self.reached(pruned.module)
        for target in self.targets:
            before, after = self.programs[target.name], self._program(pruned, target)
            kinds = {each.kind for each in self.budgets}
            figures: dict[str, float] = {}
            said = []
            for kind, one, other in (
                ("bytes", before.bytes, after.bytes),
                ("arena", before.arena_bytes, after.arena_bytes),
                ("latency", before.latency, after.latency),
            ):
                if kind not in kinds:
                    continue
                name = "latency_s" if before.unit == "s" else "latency_cycles"
                name = name if kind == "latency" else f"{kind}_program"
                figures |= {f"{name}_before": one, f"{name}_after": other}
                predicted = next(
                    share
                    for (of, where), share in shares.items()
                    if of == kind and where in ("", target.name)
                )
                said.append(
                    f"{kind} {_shown(kind, one, before)} → {_shown(kind, other, before)}, "
                    f"{other / one:.3f} of it, predicted {predicted:.3f}"
                )
            how = f" ({_how(self.tables[target.name])})" if target.name in self.tables else ""
            yield f"whole program on {target.name}{how}: {'; '.join(said)}", figures

    def _pursue(self, budget: Budget) -> "Iterator[_Pursued]":
        from edgekiln.compiler.pruning import activations, costs

        own: Mapping[CostKind, CostOf] = {
            "macs": costs.macs,
            "parameters": costs.parameters,
            "bytes": costs.stored_bytes,
            "arena": activations.arena,
        }
        network = self._network(self.context.module)
        if budget.kind == "latency":
            for target in self.targets:
                yield self._of_latency(budget, target, network)
            return
        cost_of = own[budget.kind]
        full = cost_of(network).left(network.widths)
        actual = [full]
        if budget.kind in ON_TARGETS and budget.share is None:
            # What is asked for is of programs, and what is predicted stands for it.
            actual = [
                each.bytes if budget.kind == "bytes" else each.arena_bytes
                for each in self.programs.values()
            ]
        share = min(budget.share_of(each) for each in actual)
        yield _Pursued(kind=budget.kind, target="", share=share, full=full, cost_of=cost_of)

    def _of_latency(
        self, budget: Budget, target: "TargetProfile", network: "PrunableNetwork"
    ) -> _Pursued:
        table, whole = self.tables[target.name], self.programs[target.name]
        if not table.grids:
            raise UnsupportedError(
                f"prune: no layer's latency is known on {target.name}",
                "give a budget of another kind, such as macs=0.5",
            )
        if table.estimated and budget.share is None:
            raise ConfigError(
                f"prune: a latency in seconds on {target.name}, whose cycles are estimated",
                "give a share, such as latency=0.5, or a device that measures: --budget-device",
            )
        in_layers = partial(_latency_cost, table, 0.0)(network).left(network.widths)
        # What no layer takes: pools, additions, conversions. None of it is sure to go.
        cost_of = partial(_latency_cost, table, max(0.0, whole.latency - in_layers))
        full = cost_of(network).left(network.widths)
        share = budget.share_of(whole.latency)
        return _Pursued(kind="latency", target=target.name, share=share, full=full, cost_of=cost_of)

    def _network(self, module: "nn.Module") -> "PrunableNetwork":
        from edgekiln.compiler.pruning.costs import PrunableNetwork

        return PrunableNetwork.of(module, self.context.samples, ())

    def _program(self, context: "TrainingContext", target: "TargetProfile") -> "ProgramCosts":
        def make() -> "ProgramCosts":
            made: ProgramCosts = target_costs().program(
                context,
                target,
                data=self.data,
                seed=self.seed,
                device=self.device,
                ctx=self.ctx,
                timed=self._timed,
            )
            return made

        return _by_one(make)

    def _table(self, target: "TargetProfile") -> "LatencyTable":
        def make() -> "LatencyTable":
            made: LatencyTable = target_costs().layers(
                self.context.module,
                self.context.sample,
                target,
                multiple=self.multiple,
                device=self.device,
                ctx=self.ctx,
            )
            return made

        return _by_one(make)


def _by_one(make: Callable[[], T]) -> T:
    """What one of several processes measures, so that all cut alike."""
    from edgekiln.compiler.training.distributed import join

    world = join()
    (made,) = world.gathered(make() if world.rank == 0 else None)
    assert made is not None, "the first process has it"
    return made


def _latency_cost(table: "LatencyTable", rest: float, network: "PrunableNetwork") -> "WidthCost":
    """The layers by the table; products of activations as fast as the layers are on average."""
    from edgekiln.compiler.pruning.costs import SumOverLayers, macs_between_activations

    def of_layer(name: str, shape: "LayerShape") -> float:
        return table.cost(name, shape.inputs, shape.outputs)

    known = [(name, shape) for name, shape in network.widths.layers.items() if name in table.grids]
    macs = sum(shape.macs for _, shape in known)
    rate = sum(of_layer(name, shape) for name, shape in known) / macs if macs else 0.0
    between = macs_between_activations(network)
    return SumOverLayers(
        of_layer=of_layer,
        of_channel={root: rate * macs for root, macs in between.items()},
        constant=rest,
    )


def _how(table: "LatencyTable") -> str:
    return table.method if table.estimated else f"measured on {table.method}"


def _shown(kind: str, value: float, costs: "ProgramCosts") -> str:
    if kind != "latency":
        return human_bytes(value)
    return f"{value * 1e6:.1f} µs" if costs.unit == "s" else f"{value:,.0f} cycles"
