"""A QDQ model as a torch module: its forward gives the codes of the integer program, bit by bit."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, TypeGuard

import torch
from torch import nn

from edgekiln.compiler.onnx_model import operators
from edgekiln.compiler.qat import elementwise, recurrent
from edgekiln.compiler.qat.elementwise import of_float, requantized
from edgekiln.compiler.qat.learned import Learned, learned_of
from edgekiln.compiler.qat.node import QatNode
from edgekiln.compiler.qat.numbers import LearnedBias, LearnedWeight, WeightCodes
from edgekiln.compiler.qat.operator_forms import form_of
from edgekiln.compiler.qat.qdq_graph import read
from edgekiln.compiler.qat.values import Pending, QuantizedValue, real
from edgekiln.compiler.quantization.products import WEIGHT_BITS
from edgekiln.runtime.errors import EdgeKilnError, UnsupportedError

if TYPE_CHECKING:
    import onnx
    from torch import Tensor

    from edgekiln.compiler.qat.node import Form, Operand, Value


class QuantizedNetwork(nn.Module):
    """Executes a QDQ model with weights, biases and scales that can be trained."""

    def __init__(
        self,
        model: "onnx.ModelProto",
        source: "onnx.ModelProto | None" = None,
        *,
        ends: "Mapping[str, str] | None" = None,
        shapes: "Sequence[tuple[int, ...]]" = (),
        weight_bits: int = WEIGHT_BITS,
    ) -> None:
        """Args:
        model: as `qdq.quantize` makes it; not changed.
        source: the float model that it was made of: its weights are what training begins with.
        ends: what `forward` gives, by name: which tensor; None: the model's outputs.
        shapes: of one sample of each input, for samples that come in another.
        weight_bits: of a weight; below 8 they are kept in int8.

        Raises:
            UnsupportedError: an operator has no trained form; the message names it.
        """
        super().__init__()
        self.graph = read(model)
        self.learned: Learned = learned_of(self.graph, source, weight_bits)
        self.scales = nn.ModuleList(self.learned.scales)
        self.weights = nn.ModuleList(self.learned.weights)
        self.biases = nn.ModuleList(self.learned.biases)
        self.constants = nn.ModuleList(self.learned.constants)
        self.ends = dict(ends or {value.name: value.name for value in model.graph.output})
        self._shapes = tuple(shapes)
        self.inputs = self.graph.inputs
        batches = {int(operators.attributes(each)["shape"][1]) for each in self.graph.layers}
        self._at_once = min(batches, default=0)
        self._forms = [_form(node) for node in self.graph.nodes]

    def forward(self, *inputs: "Tensor") -> "dict[str, Tensor]":
        """The outputs by name, for inputs in the model's order, (N, …) each."""
        given = inputs
        if self._shapes:
            given = tuple(
                x.reshape(len(x), *shape) for x, shape in zip(inputs, self._shapes, strict=True)
            )
        names = list(dict.fromkeys(self.ends.values()))
        numbers = self._numbers()
        found = [
            self._computed(dict(zip(self.inputs, sample, strict=True)), names, *numbers)
            for sample in self._samples(given)
        ]
        return {
            name: torch.cat([real(each[tensor]) for each in found])
            for name, tensor in self.ends.items()
        }

    def _samples(self, given: "tuple[Tensor, ...]") -> "Iterator[tuple[Tensor, ...]]":
        """All samples at once; of a recurrent model, whose shapes say how many there are, as many
        as these.
        """
        count = self._at_once or len(given[0])
        for first in range(0, len(given[0]), count):
            yield tuple(each[first : first + count] for each in given)

    def values(self, inputs: "Mapping[str, Tensor]", names: Sequence[str]) -> "dict[str, Value]":
        """Tensors of the model by name; of a quantized one its codes."""
        return self._computed(inputs, names, *self._numbers())

    def _numbers(self) -> "tuple[dict[str, Operand], list[Tensor]]":
        """Each weight and bias, and each scale, worked out once a call."""
        scales: list[Tensor] = [scale() for scale in self.scales]
        known: dict[str, Operand] = {}
        for name, place in self.learned.weight_of.items():
            known[name] = self._weight(place)
        for name, place in self.learned.bias_of.items():
            known[name] = self._bias(place)
        for name, place in self.learned.constant_of.items():
            known[name] = self._constant(place)
        for layer in self.graph.layers:
            name = layer.input[recurrent.INVERSE]
            known[name] = scales[self.learned.scale_of[name]]
        return known, scales

    def _computed(
        self, inputs: "Mapping[str, Tensor]", names: Sequence[str],
        numbers: "Mapping[str, Operand]", scales: "list[Tensor]",
    ) -> "dict[str, Value]":  # fmt: skip
        known = {**numbers, **{name: _in_memory(x) for name, x in inputs.items()}}
        found: dict[str, Value] = {}
        for place, node in enumerate(self.graph.nodes):
            results = self._results(place, node, known, scales)
            known.update(zip(node.proto.output, results, strict=False))
            for name in self.graph.last_read[place]:
                # What is asked for is kept, all else freed.
                old = known.pop(name, None)
                if name in names and _is_value(old):
                    found[name] = old
        found |= {name: v for name in names if _is_value(v := known.get(name))}
        return {name: found[name] for name in names}

    def _results(
        self, place: int, node: QatNode, known: "Mapping[str, Operand]", scales: "list[Tensor]"
    ) -> "Sequence[Value]":
        operands = [known.get(name) if name else None for name in node.reads]
        try:
            if node.proto.op_type == "QuantizeLinear":
                return [self._quantized(node, operands[0], scales)]
            if node.proto.op_type == "DequantizeLinear":
                return [_seen(node, operands[0])]
            return self._forms[place](node, operands)
        except EdgeKilnError:
            raise
        # Whatever torch or the reference say about shapes that they do not take.
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            raise node.refused(str(error).strip().partition("\n")[0]) from error

    def _quantized(self, node: QatNode, x: "Operand", scales: "list[Tensor]") -> QuantizedValue:
        scale = scales[self.learned.scale_of[node.proto.input[1]]]
        zero, limits = self.graph.zero_of(node.proto)
        if isinstance(x, QuantizedValue):
            as_is = QuantizedValue(steps=x.steps, scale=scale, zero=zero, limits=limits)
            if as_is.same_quantization(x):
                return as_is
            return requantized(x).quantized(scale, zero, limits)
        if x is None and 0 in node.constants:  # such as a recurrent layer's first state
            x = torch.from_numpy(node.constants[0].copy()).to(scale)
        if not isinstance(x, Pending | torch.Tensor):
            raise node.refused("it quantizes a constant")
        pending = x if isinstance(x, Pending) else of_float(x)
        return pending.quantized(scale, zero, limits)

    def _weight(self, place: int) -> WeightCodes:
        weight = self.weights[place]
        assert isinstance(weight, LearnedWeight)
        found: WeightCodes = weight()
        return found

    def _bias(self, place: int) -> LearnedBias:
        bias = self.biases[place]
        assert isinstance(bias, LearnedBias)
        return bias

    def _constant(self, place: int) -> QuantizedValue:
        codes: QuantizedValue = self.constants[place]()
        return codes


def _form(node: QatNode) -> "Form":
    if node.proto.op_type in ("QuantizeLinear", "DequantizeLinear"):
        return lambda _node, _operands: []
    form = elementwise.joined if node.joined else form_of(node.proto)
    if form is None:
        raise UnsupportedError(
            f"operator {node.proto.op_type} ({node.proto.name!r}) has no form for "
            "quantization-aware training",
            hint="quantize without --qat-epochs",
        )
    return form


def _seen(node: QatNode, x: "Operand") -> QuantizedValue:
    """What a DequantizeLinear gives: the codes themselves, for whoever can use them."""
    if not isinstance(x, QuantizedValue):
        raise node.refused("it reads no codes that the model has made")
    return x


def _in_memory(x: "Tensor") -> "Tensor":
    """Images channels-last, as convolutions are fastest."""
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x


def _is_value(x: "Operand") -> "TypeGuard[Value]":
    return isinstance(x, QuantizedValue | Pending | torch.Tensor)
