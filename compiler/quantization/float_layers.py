"""Which layers stay float so that a limit is met: the fewest and the cheapest that suffice."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgekiln.compiler.quantization.judge import Judge, Verdict
from edgekiln.compiler.quantization.scheme import Scheme
from edgekiln.compiler.quantization.sensitivity import QuantizedUnit, units
from edgekiln.runtime.text import counted

if TYPE_CHECKING:
    import onnx

# A layer's cost is its multiply-accumulates, and so many for each value of its result, which is
# written and read in four bytes instead of one and converted on both sides.
_MACS_AN_ELEMENT = 8
_TRIALS = 8  # at most, of layers that might become integer again


@dataclass(frozen=True, kw_only=True)
class FloatChoice:
    """A scheme with layers that stay float, its int8 model, and what that is worth."""

    scheme: Scheme
    layers: tuple[str, ...]
    cost: int  # see `_MACS_AN_ELEMENT`
    quantized: "onnx.ModelProto"
    verdict: Verdict


def cheapest(
    scheme: Scheme,
    judge: Judge,
    signal_db: Mapping[str, float],
    meets: Callable[[Verdict], bool],
    advance: Callable[[str], None],
) -> FloatChoice | None:
    """Leave layers float until `meets` holds: by their noise, and by their noise for what they
    cost; of the two sets the one that costs less, without what it can do without.

    Args:
        scheme: how the model is quantized.
        judge: of its float model.
        signal_db: SQNR of its outputs, by the name of the one layer that is quantized.
        meets: whether a model is good enough.
        advance: is told what is tried.

    Returns:
        What loses least when no set of layers suffices, all but one of them included; None where
        there is but one.
    """
    layers = {unit.name: unit for unit in units(scheme)}
    noise = {name: 10.0 ** (-each_db / 10.0) for name, each_db in signal_db.items()}
    by_noise = sorted(layers, key=lambda name: -noise[name])
    price = {name: noise[name] / _cost(unit) for name, unit in layers.items()}
    by_price = sorted(layers, key=lambda name: -price[name])
    search = _Search(scheme, judge, layers, meets, advance)
    found = [search.first_of(order) for order in dict.fromkeys((tuple(by_noise), tuple(by_price)))]
    enough = [choice for choice in found if choice is not None and meets(choice.verdict)]
    if not enough:
        return next((choice for choice in found if choice is not None), None)
    least = min(enough, key=lambda choice: choice.cost)
    # First those that give back most for the noise that they bring.
    return search.without_spare(least, sorted(least.layers, key=lambda name: price[name]))


def _cost(unit: QuantizedUnit) -> int:
    return unit.macs + _MACS_AN_ELEMENT * unit.elements


class _Search:
    """Sets of layers that were tried."""

    def __init__(
        self,
        scheme: Scheme,
        judge: Judge,
        layers: dict[str, QuantizedUnit],
        meets: Callable[[Verdict], bool],
        advance: Callable[[str], None],
    ) -> None:
        self._scheme, self._judge, self._layers = scheme, judge, layers
        self._meets, self._advance = meets, advance
        self._known: dict[frozenset[str], FloatChoice] = {}

    def first_of(self, order: Sequence[str]) -> FloatChoice | None:
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

    def without_spare(self, choice: FloatChoice, order: Sequence[str]) -> FloatChoice:
        """The choice without the layers that are not needed, of the first of `order`."""
        for name in order[:_TRIALS]:
            rest = [each for each in choice.layers if each != name]
            if rest and self._enough(rest):
                choice = self._tried(rest)
        return choice

    def _enough(self, names: Sequence[str]) -> bool:
        return self._meets(self._tried(names).verdict)

    def _tried(self, names: Sequence[str]) -> FloatChoice:
        key = frozenset(names)
        if key not in self._known:
            self._advance(f"{counted(len(key), 'layer')} float")
            nodes = {node for name in names for node in self._layers[name].nodes}
            scheme = replace(self._scheme, floats=self._scheme.floats | nodes)
            quantized = scheme.quantized()
            self._known[key] = FloatChoice(
                scheme=scheme,
                layers=tuple(name for name in self._layers if name in key),
                cost=sum(_cost(self._layers[name]) for name in names),
                quantized=quantized,
                verdict=self._judge.verdict(quantized),
            )
        return self._known[key]
