"""Which layers lose most when they become integer: each measured alone.

As in Nagel et al., A White Paper on Neural Network Quantization, 2021 (arXiv:2106.08295), section
3.7: one quantizer is switched on at a time, or all but one.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from typing import Literal

from edgekiln.compiler.onnx_model import operators, rewriting
from edgekiln.compiler.onnx_model.cost import macs_by_node
from edgekiln.compiler.onnx_model.recurrent_layers import is_steps
from edgekiln.compiler.quantization.judge import Judge
from edgekiln.compiler.quantization.ladder_record import LayerSensitivity, finite_losses
from edgekiln.compiler.quantization.scheme import Scheme

Mode = Literal["only", "all-but"]


@dataclass(frozen=True, kw_only=True)
class QuantizedUnit:
    """A layer with what its integer form has in it: the activation behind it, or the steps of a
    recurrent layer behind the product of their data.
    """

    nodes: tuple[str, ...]  # their names; the first is the layer's
    op: str
    macs: int  # of one sample
    elements: int  # of its result, of one sample
    weights: int  # that it multiplies with

    @property
    def name(self) -> str:
        """The layer's."""
        return self.nodes[0]


def units(scheme: Scheme) -> list[QuantizedUnit]:
    """The layers that become integer, in the model's order. What only moves codes is none."""
    facts, macs = rewriting.facts_of(scheme.model), macs_by_node(scheme.model)
    inside = {node.name for node in scheme.nodes}
    found: list[QuantizedUnit] = []
    joined: set[str] = set()
    for node in scheme.nodes:
        row = operators.of(node)
        if row is None or row.role == "pass-through" or node.name in joined:
            continue
        names, last = [node.name], node
        behind = facts.alone(node.output[0])
        if behind is not None and behind.name in inside and is_steps(behind):
            names.append(behind.name)
            joined.add(behind.name)
            last = behind
        elif behind is not None and behind.name in inside and row.integer != "clip":
            after = operators.of(behind)
            if after is not None and after.integer == "clip":
                names.append(behind.name)
                joined.add(behind.name)
        found.append(
            QuantizedUnit(
                nodes=tuple(names),
                op=last.op_type,
                macs=sum(macs[name] for name in names),
                elements=prod(facts.fixed(last.output[0]) or (1,)),
                weights=sum(scheme.weights_of(name) for name in names),
            )
        )
    return found


def sensitivities(
    scheme: Scheme, judge: Judge, mode: Mode, advance: Callable[[int, int], None]
) -> tuple[LayerSensitivity, ...]:
    """Quantize one layer after the other alone, or all but one; the most sensitive stand first.

    Args:
        scheme: how the whole model is quantized.
        judge: of its float model.
        mode: "only": the layer alone is integer; "all-but": it alone is float.
        advance: is told after each layer how many of how many are done.
    """
    layers = units(scheme)
    everything = frozenset(node.name for node in scheme.nodes)
    found = []
    for done, layer in enumerate(layers, start=1):
        own = frozenset(layer.nodes)
        floats = scheme.floats | (everything - own if mode == "only" else own)
        verdict = judge.verdict(replace(scheme, floats=floats).quantized())
        found.append(
            LayerSensitivity(
                name=layer.name,
                op=layer.op,
                macs=layer.macs,
                sqnr_db=verdict.sqnr_db,
                scores={score.label: score.value for score in verdict.scores},
                lost=finite_losses(verdict.lost),
                least_db=verdict.least_db,
            )
        )
        advance(done, len(layers))
    # Alone, the worst loses most; left out, the worst gives most back.
    return tuple(sorted(found, key=lambda each: each.sqnr_db * (1 if mode == "only" else -1)))
