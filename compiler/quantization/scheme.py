"""All that makes an int8 model of a float one; a step of accuracy control changes one thing."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.onnx_model.four_bits import NARROW_BITS, bits_of
from edgekiln.compiler.onnx_model.rewriting import facts_of
from edgekiln.compiler.quantization import qdq, recurrent_codes
from edgekiln.compiler.quantization.block_scales import are_matrices, rounded_in_blocks
from edgekiln.compiler.quantization.idle_moves import without_idle_moves
from edgekiln.compiler.quantization.joint import joint_ranges
from edgekiln.compiler.quantization.limits import FARTHEST_CODED
from edgekiln.compiler.quantization.narrow_tables import with_narrow_tables
from edgekiln.compiler.quantization.products import (
    WEIGHT_BITS,
    ModelWeights,
    RoundedWeights,
    products,
    real_biases,
    real_weights,
)
from edgekiln.compiler.quantization.ranges import Range
from edgekiln.compiler.quantization.weight_scales import (
    biases_alone,
    mse_scales,
    peak_scales,
    rounded_anew,
)
from edgekiln.compiler.quantization.wide_codes import ACTIVATION_BITS, WIDE_BITS, with_wide_codes

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True, kw_only=True)
class Scheme:
    """How a model is quantized."""

    model: "onnx.ModelProto"  # float, as `prepare` leaves it; not changed
    ranges: Mapping[str, Range]  # of every activation that may be quantized
    exclude: tuple[str, ...] = ()  # patterns of nodes that the user leaves float
    floats: frozenset[str] = frozenset()  # nodes that stay float besides
    weight_bits: int = WEIGHT_BITS  # of the weights of products
    weight_block: int = 0  # how many of `NARROW_BITS` have a factor; 0: all of an output's
    embedding_bits: int = WEIGHT_BITS  # of the rows of tables: all, or `NARROW_BITS`
    activation_bits: int = ACTIVATION_BITS  # of all activations; or `WIDE_BITS`
    wide: frozenset[str] = frozenset()  # nodes whose activations have `WIDE_BITS` besides
    whole: frozenset[str] = frozenset()  # nodes whose weights keep all bits, where others have few
    # By node: weights that are not rounded to the nearest code.
    weights: Mapping[str, RoundedWeights] = field(default_factory=dict)

    @property
    def nodes(self) -> "list[onnx.NodeProto]":
        """Those that become integer. What only moves values does so beside one that computes."""
        found = qdq.quantized_nodes(self.model, self.exclude)
        spared = self.floats | self._of_far_tensors(found)
        left = [node for node in found if node.name not in spared]
        if len(left) < len(found):
            left = list(recurrent_codes.in_codes(facts_of(self.model), left))
        elif not (self.floats or self.exclude):
            return left
        return without_idle_moves(left, {weight.name for weight in self.model.graph.initializer})

    @property
    def far(self) -> frozenset[str]:
        """The names of those that stay float because of their numbers, such as the least float32
        of a mask: no code stands for them.
        """
        if not self._far_tensors:  # of nearly all models: their nodes need not be found for it
            return frozenset()
        return self._of_far_tensors(qdq.quantized_nodes(self.model, self.exclude))

    @property
    def _far_tensors(self) -> frozenset[str]:
        ranges = self.ranges.items()
        return frozenset(name for name, (low, high) in ranges if max(-low, high) > FARTHEST_CODED)

    def _of_far_tensors(self, nodes: "list[onnx.NodeProto]") -> frozenset[str]:
        """The names of those that read or make such a tensor."""
        far = self._far_tensors
        return frozenset(
            node.name for node in nodes if not far.isdisjoint((*node.input, *node.output))
        )

    def is_wide(self, node: str) -> bool:
        """Whether what a node reads and gives has 16 bits, if it is of codes."""
        return self.activation_bits == WIDE_BITS or node in self.wide

    def quantized(self) -> "onnx.ModelProto":
        """The int8 model."""
        nodes, ranges = self._nodes_and_ranges()
        made = self._in_parts(nodes, ranges)
        recurrent_codes.write(made, nodes, ranges)
        return made

    def in_parts(self) -> "onnx.ModelProto":
        """The same, whose products all are nodes of their own: steps of recurrent layers are float
        in it.
        """
        return self._in_parts(*self._nodes_and_ranges())

    def _nodes_and_ranges(self) -> "tuple[list[onnx.NodeProto], Mapping[str, Range]]":
        nodes = self.nodes
        observed = observed_tensors(self.model, nodes)
        known = {name: self.ranges[name] for name in observed if name in self.ranges}
        wide = recurrent_codes.with_first_states(nodes, joint_ranges(self.model, nodes, known))
        return nodes, wide

    def _in_parts(
        self, nodes: "list[onnx.NodeProto]", ranges: Mapping[str, Range]
    ) -> "onnx.ModelProto":
        made = qdq.quantize(self.model, nodes, ranges, self.floats | self.far)
        weights = ModelWeights(made)
        alone = biases_alone(self.model, made)
        for product in products(made):
            if product.name in alone:
                weights.write(product, alone[product.name])
        chosen = dict(self.weights)
        if self.weight_bits < WEIGHT_BITS:
            scales = mse_scales if self.weight_bits == NARROW_BITS else peak_scales
            narrow = rounded_anew(self.model, made, scales, self.weight_bits)
            if self.weight_block and self.weight_bits == NARROW_BITS:
                narrow |= rounded_in_blocks(self.model, made, self.weight_block)
            few = {name: each for name, each in narrow.items() if name not in self.whole}
            chosen = few | chosen
        for product in products(made):
            if product.name in chosen:
                weights.write(product, chosen[product.name])
        if wide := frozenset(node.name for node in nodes if self.is_wide(node.name)):
            made = with_wide_codes(
                made, wide, self._biases(chosen), qdq.clipped(self.model),
                qdq.read_by_functions(self.model, nodes),
            )  # fmt: skip
        if self.embedding_bits < WEIGHT_BITS:
            return with_narrow_tables(self.model, made)
        return made

    def _biases(self, chosen: Mapping[str, RoundedWeights]) -> dict[str, NDArray[np.floating]]:
        """The real biases of products, by the name of their nodes."""
        stored = ModelWeights(self.model)
        found = {name: stored[bias] for name, bias in real_biases(self.model).items()}
        changed = {name: each.bias for name, each in chosen.items() if each.bias is not None}
        return {name: bias.astype(np.float32) for name, bias in {**found, **changed}.items()}

    def with_whole_weights(self, nodes: frozenset[str]) -> Self:
        """The scheme in which the weights of these nodes keep all bits, rounded to the nearest."""
        left = {name: each for name, each in self.weights.items() if name not in nodes}
        return replace(self, whole=self.whole | nodes, weights=left)

    def has_few_bits(self, node: str) -> bool:
        """Whether a product's weights have fewer bits than others of such a shape could have."""
        shape = self._weight_shapes.get(node)
        few = shape is not None and bits_of(shape, self.weight_bits, WEIGHT_BITS) < WEIGHT_BITS
        return few and node not in self.whole

    def has_blocks(self, node: str) -> bool:
        """Whether a product's weights have a factor in each of several blocks."""
        shape = self._weight_shapes.get(node, ())
        return bool(self.weight_block and shape and self.has_few_bits(node)) and are_matrices(
            shape, self.weight_block
        )

    def weights_of(self, node: str) -> int:
        """How many weights a node has."""
        return prod(self._weight_shapes.get(node, (0,)))

    @cached_property
    def _weight_shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of products' weights, by the names of their nodes."""
        shapes = {weight.name: tuple(weight.dims) for weight in self.model.graph.initializer}
        return {node: shapes[name] for node, name in real_weights(self.model).items()}

    def with_weights_of(self, quantized: "onnx.ModelProto") -> Self:
        """The scheme with the weights and biases that its int8 model, in parts, has been given."""
        weights = ModelWeights(quantized)
        found = {product.name: weights.read(product) for product in products(quantized)}
        return replace(self, weights={**self.weights, **found})


def observed_tensors(model: "onnx.ModelProto", nodes: "list[onnx.NodeProto]") -> list[str]:
    """The activations whose range is needed."""
    return qdq.observed_tensors(nodes, [weight.name for weight in model.graph.initializer])


def with_biases(model: "onnx.ModelProto") -> "onnx.ModelProto":
    """A copy whose convolutions and Gemms with constant weights all have a bias, if of zeros: what
    is to be corrected must be there.
    """
    import numpy as np
    import onnx

    made = onnx.ModelProto()
    made.CopyFrom(model)
    shapes = {weight.name: tuple(weight.dims) for weight in made.graph.initializer}
    taken = {name for node in made.graph.node for name in (*node.input, *node.output)}
    for node in made.graph.node:
        if node.op_type not in ("Conv", "Gemm") or node.input[1] not in shapes:
            continue
        if len(node.input) > 2 and node.input[2]:
            continue
        turned = any(a.name == "transB" and a.i for a in node.attribute)
        axis = 0 if node.op_type == "Conv" or turned else 1
        name = f"{node.output[0]}_bias"
        while name in taken:
            name += "_"
        taken.add(name)
        zeros = np.zeros(shapes[node.input[1]][axis], np.float32)
        made.graph.initializer.append(onnx.numpy_helper.from_array(zeros, name))
        del node.input[2:]
        node.input.append(name)
    return made
