"""Which layers are made more exact so that a limit is met, with weights of 8 bits instead of 4, in
16 bits or in float: the fewest and the cheapest that suffice.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from edgekiln.compiler.quantization.judge import Judge, Verdict
from edgekiln.compiler.quantization.scheme import Scheme
from edgekiln.compiler.quantization.sensitivity import QuantizedUnit, units
from edgekiln.compiler.quantization.wide_codes import WIDE_BITS
from edgekiln.runtime.text import counted

if TYPE_CHECKING:
    import onnx

# A layer's cost is its multiply-accumulates, and so many for each value of its result, which is
# written and read in four bytes instead of one and converted on both sides.
_MACS_AN_ELEMENT = 8
_TRIALS = 8  # at most, of layers that might become integer again
# What a layer takes more than in 8 bits, to one another: as long on x86 with AVX-512, half as long
# on a Cortex-M4 (benchmarks/README.md). The model is for all chips.
_MORE_WIDE, _MORE_FLOAT = 2, 3


class LayerChange(NamedTuple):
    """What becomes of layers."""

    how: str
    make: Callable[[Scheme, frozenset[str]], Scheme]  # by the names of their nodes
    more: int  # that they take
    cost: Callable[[QuantizedUnit], int]  # of a layer, before that
    suits: Callable[[Scheme, str], bool] = lambda *_: True  # a layer, by its name


def _time(unit: QuantizedUnit) -> int:
    return unit.macs + _MACS_AN_ELEMENT * unit.elements


LEFT_FLOAT = LayerChange(
    "float", lambda s, nodes: replace(s, floats=s.floats | nodes), _MORE_FLOAT, _time
)
WIDENED = LayerChange(
    "in 16 bits", lambda s, nodes: replace(s, wide=s.wide | nodes), _MORE_WIDE, _time
)
# They take more memory, and no more time.
WHOLE_WEIGHTS = LayerChange(
    "with weights of 8 bits", Scheme.with_whole_weights, 1, lambda unit: unit.weights,
    Scheme.has_few_bits,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Base:
    """What layers are to be changed of."""

    scheme: Scheme
    signal_db: Mapping[str, float]  # SQNR of the outputs, by the one layer that is quantized


@dataclass(frozen=True, kw_only=True)
class LayerChoice:
    """A scheme with layers that are more exact, its int8 model, and what that is worth."""

    scheme: Scheme
    layers: tuple[str, ...]
    price: int  # of layers that are more exact, see `_MACS_AN_ELEMENT`, above that in 8 bits
    quantized: "onnx.ModelProto"
    verdict: Verdict


def cheapest(
    base: Base,
    judge: Judge,
    meets: Callable[[Verdict], bool],
    advance: Callable[[str], None],
    change: LayerChange = LEFT_FLOAT,
) -> LayerChoice | None:
    """Change layers until `meets` holds: by their noise, and by their noise for what they cost; of
    the two sets the one that costs less, without what it can do without.

    Args:
        base: how the model is quantized.
        judge: of its float model.
        meets: whether a model is good enough.
        advance: is told what is tried.
        change: what becomes of them.

    Returns:
        What loses least when no set of layers suffices, all but one of them included; None where
        there is but one.
    """
    layers = {
        unit.name: unit for unit in units(base.scheme) if change.suits(base.scheme, unit.name)
    }
    noise = {name: 10.0 ** (-each_db / 10.0) for name, each_db in base.signal_db.items()}
    by_noise = sorted(layers, key=lambda name: -noise[name])
    price = {name: noise[name] / change.cost(unit) for name, unit in layers.items()}
    by_price = sorted(layers, key=lambda name: -price[name])
    search = _Search(base.scheme, judge, layers, meets, advance, change)
    found = [search.first_of(order) for order in dict.fromkeys((tuple(by_noise), tuple(by_price)))]
    enough = [choice for choice in found if choice is not None and meets(choice.verdict)]
    if not enough:
        return next((choice for choice in found if choice is not None), None)
    least = min(enough, key=lambda choice: choice.price)
    # First those that give back most for the noise that they bring.
    return search.without_spare(least, sorted(least.layers, key=lambda name: price[name]))


def cheapest_in_float(
    bases: Sequence[Base],
    judge: Judge,
    meets: Callable[[Verdict], bool],
    advance: Callable[[str], None],
) -> LayerChoice | None:
    """What `cheapest` finds for the base that leads to the cheapest model."""
    choices = [cheapest(base, judge, meets, advance) for base in bases]
    found = [choice for choice in choices if choice is not None]
    enough = [choice for choice in found if meets(choice.verdict)]
    return min(enough or found, key=lambda choice: choice.price, default=None)


class _Search:
    """Sets of layers that were tried."""

    def __init__(
        self,
        scheme: Scheme,
        judge: Judge,
        layers: dict[str, QuantizedUnit],
        meets: Callable[[Verdict], bool],
        advance: Callable[[str], None],
        change: LayerChange,
    ) -> None:
        self._scheme, self._judge, self._layers = scheme, judge, layers
        self._meets, self._advance, self._change = meets, advance, change
        self._known: dict[frozenset[str], LayerChoice] = {}

    def first_of(self, order: Sequence[str]) -> LayerChoice | None:
        """The shortest beginning of `order` that is enough, if a longer one is, too; else all but
        the last.
        """
        count = 1
        while count < len(order) and not self._enough(order[:count]):
            count *= 2
        most = min(count, len(order) - 1)
        if most < 1:
            return None
        if not self._enough(order[:most]):
            return self._tried(order[:most])
        least = count // 2  # not enough, or 0
        while most - least > 1:
            middle = (least + most) // 2
            if self._enough(order[:middle]):
                most = middle
            else:
                least = middle
        return self._tried(order[:most])

    def without_spare(self, choice: LayerChoice, order: Sequence[str]) -> LayerChoice:
        """The choice without the layers that are not needed, of the first of `order`."""
        for name in order[:_TRIALS]:
            rest = [each for each in choice.layers if each != name]
            if rest and self._enough(rest):
                choice = self._tried(rest)
        return choice

    def _enough(self, names: Sequence[str]) -> bool:
        return self._meets(self._tried(names).verdict)

    def _price(self, names: frozenset[str]) -> int:
        cost = {name: self._change.cost(unit) for name, unit in self._layers.items()}
        changed = sum(cost[name] for name in names)
        others = sum(cost.values()) - changed
        wide = self._scheme.activation_bits == WIDE_BITS
        return self._change.more * changed + (_MORE_WIDE * others if wide else 0)

    def _tried(self, names: Sequence[str]) -> LayerChoice:
        key = frozenset(names)
        if key not in self._known:
            nodes = frozenset(node for name in names for node in self._layers[name].nodes)
            scheme = self._change.make(self._scheme, nodes)
            self._advance(f"{counted(len(key), 'layer')} {self._change.how}")
            quantized = scheme.quantized()
            self._known[key] = LayerChoice(
                scheme=scheme,
                layers=tuple(name for name in self._layers if name in key),
                price=self._price(key),
                quantized=quantized,
                verdict=self._judge.verdict(quantized),
            )
        return self._known[key]
