"""Migration: what makes activations hard to quantize is moved into the weights that read them.

Behind a normalization a few channels are many times larger than the others, and one scale for all
loses the others. The normalization's own factor and shift are divided by s_j, channel by channel,
and the next products' weights multiplied by it, with s_j = max|x_j|^α / max|w_j|^(1 − α). Xiao et
al., SmoothQuant, 2023 (arXiv:2211.10438), equation 4. The α of each tensor is the one with which
the rounded values and weights give the products that are nearest to the true ones on samples, as
Lin et al. search it, AWQ, 2023 (arXiv:2306.00978), section 3.2.

Values that are float anyway, and that others read, too, or that nothing in front of them can
divide, are divided by a multiplication of its own on their way to the products.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.onnx_model import operators, rewriting
from edgekiln.compiler.quantization.channel_peaks import ChannelSamples
from edgekiln.compiler.quantization.products import ModelWeights, most_code
from edgekiln.compiler.quantization.ranges import LEVELS
from edgekiln.compiler.quantization.residual_sums import VIEWS

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import onnx

# No larger ones: what rounding takes from weights is the same in every row, and adds up where rows
# are averaged, as those of a text's tokens are; what it takes from values does not.
_ALPHAS = (0.4, 0.5, 0.6, 0.7, 0.8)
_LEAST = 1e-5  # of a factor: channels that are all but dead keep theirs


@dataclass(frozen=True, kw_only=True)
class Migration:
    """A tensor whose channels, along its last axis, can be scaled, by names of initializers."""

    tensor: str
    makers: tuple[str, ...]  # one number a channel each: divided; none where a node does it
    readers: tuple[tuple[str, int], ...]  # weights and the axis of their input channels: multiplied
    ways: tuple[str, ...]  # the nodes that read the tensor and lead to these weights


def migrate(
    model: "onnx.ModelProto",
    found: "Sequence[Migration]",
    samples: Mapping[str, ChannelSamples],
) -> tuple[int, frozenset[str]]:
    """Balance every normalization or affine operation whose readers all are products by constants,
    and every float value that such products read, where that makes the products better.

    Args:
        model: float; rewritten in place.
        found: its `migrations`.
        samples: of their tensors.

    Returns:
        How many were balanced, and the names of multiplications that are float, too.
    """
    weights = ModelWeights(model)
    inverses: dict[str, NDArray[np.float32]] = {}
    ways: dict[str, tuple[str, ...]] = {}
    count = 0
    for each in found:
        read = [np.moveaxis(weights.real(name), axis, 0) for name, axis in each.readers]
        factor = _best_factors(samples[each.tensor], np.concatenate(read, axis=1))
        if factor is None:
            continue
        count += 1
        for name in each.makers:
            weights[name] = (weights.real(name) / factor).astype(np.float32)
        for (name, axis), array in zip(each.readers, read, strict=True):
            scaled = np.moveaxis(array * factor[:, None], 0, axis)
            weights[name] = scaled.astype(np.float32)
        if not each.makers:
            inverses[each.tensor] = (1 / factor).astype(np.float32)
            ways[each.tensor] = each.ways
    return count, frozenset(_divide(model, inverses, ways)) if inverses else frozenset()


def _divide(
    model: "onnx.ModelProto", inverses: dict[str, NDArray[np.float32]],
    ways: dict[str, tuple[str, ...]],
) -> list[str]:  # fmt: skip
    """Multiply tensors by a number a channel on their way to some nodes; the new nodes' names."""
    import onnx

    facts = rewriting.facts_of(model)
    taken = {node.name for node in model.graph.node}
    nodes: list[onnx.NodeProto] = []
    made: list[str] = []
    divided: dict[str, str] = {}  # tensor → what is read in its place
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            if name in divided and node.name in ways[name]:
                node.input[place] = divided[name]
        nodes.append(node)
        for name in node.output:
            if name not in inverses:
                continue
            divided[name] = facts.free(f"{name}.balanced")
            own = divided[name]
            while own in taken:
                own += "_"
            taken.add(own)
            made.append(own)
            factor = facts.add(f"{name}.balance", inverses[name])
            nodes.append(onnx.helper.make_node("Mul", [name, factor], [divided[name]], own))
    model.graph.initializer.extend(facts.made)
    rewriting.replace_nodes(model, nodes)
    return made


def _best_factors(
    samples: ChannelSamples, weights: NDArray[np.float64]
) -> NDArray[np.float64] | None:
    """The factor of each channel that gives the best products; None where none is better than 1.

    Args:
        weights: (channels, outputs), of all products that read the tensor.
    """
    exact = samples.rows @ weights
    plain = np.ones(len(weights))
    best, least = plain, _error(samples, weights, plain, exact)
    for alpha in _ALPHAS:
        factor = _factors(samples.peaks, np.abs(weights).max(axis=1), alpha)
        error = _error(samples, weights, factor, exact)
        if error < least:
            best, least = factor, error
    return None if best is plain else best


def _factors(
    activations: NDArray[np.floating], weights: NDArray[np.floating], alpha: float
) -> NDArray[np.float64]:
    alive = (activations > _LEAST) & (weights > _LEAST)
    factor = np.ones(len(activations))
    factor[alive] = activations[alive] ** alpha / weights[alive] ** (1 - alpha)
    return np.maximum(factor, _LEAST)


def _error(
    samples: ChannelSamples, weights: NDArray[np.float64], factor: NDArray[np.float64],
    exact: NDArray[np.float64],
) -> float:  # fmt: skip
    """The share that rounding takes from the products of divided values and multiplied weights."""
    low, high = min(0.0, (samples.low / factor).min()), max(0.0, (samples.high / factor).max())
    step = max(high - low, _LEAST) / LEVELS
    values = np.rint(samples.rows / factor / step) * step
    scaled = weights * factor[:, None]
    steps = np.maximum(np.abs(scaled).max(axis=0), _LEAST) / most_code()
    error = np.square(values @ (np.rint(scaled / steps) * steps) - exact).sum(axis=1)
    signal = np.square(exact).sum(axis=1)
    # Small rows are added to larger ones; of the few that are very large the share counts, as a
    # normalization behind them has it.
    return float((error / (signal + np.median(signal) + _LEAST)).mean())


def migrations(model: "onnx.ModelProto", floats: "Collection[str]" = ()) -> list[Migration]:
    """What can be migrated: behind a LayerNormalization over the last axis, or a Mul or Mul and Add
    by one number a channel, nothing but MatMul and Gemm with weights of their own; and what nodes
    of `floats` give to such products. Views that keep the last axis may lie between.

    Args:
        model: float.
        floats: the names of the nodes that stay float in the int8 model.
    """
    facts = rewriting.facts_of(model)
    shapes = {weight.name: tuple(weight.dims) for weight in model.graph.initializer}
    uses = Counter(name for node in model.graph.node for name in node.input)
    own = {name for name in shapes if uses[name] == 1 and name not in facts.outputs}
    # A stack of matrices, or a vector, has its input channels along another axis.
    matrices = {name for name in own if len(shapes[name]) == 2}
    found = []
    for node in model.graph.node:
        makers = _numbers_a_channel(node, shapes, own)
        tensor = node.output[0]
        if node.op_type == "Mul" and makers:
            behind = facts.readers.get(tensor, [])
            shift = _numbers_a_channel(behind[0], shapes, own) if len(behind) == 1 else ()
            if shift and behind[0].op_type == "Add" and tensor not in facts.outputs:
                makers, tensor = (*makers, *shift), behind[0].output[0]
        if node.op_type == "Add":
            makers = ()
        readers = facts.readers.get(tensor, [])
        read = {each.name: _products(facts, each, tensor, matrices) for each in readers}
        ways = {name: weights for name, weights in read.items() if weights}
        all_of_them = len(ways) == len(readers) and tensor not in facts.outputs
        known = tuple(dict.fromkeys(each for weights in ways.values() for each in weights))
        counts = {shapes[name][axis] for name, axis in known}
        if makers and all_of_them:
            counts |= {shapes[name][-1] for name in makers}
        elif _is_float_value(node, floats) and tensor == node.output[0] and tensor in facts.floats:
            makers = ()
        else:
            continue
        if len(counts) == 1:
            found.append(Migration(tensor=tensor, makers=makers, readers=known, ways=tuple(ways)))
    return found


def _is_float_value(node: "onnx.NodeProto", floats: "Collection[str]") -> bool:
    """Whether a node makes a value that stays float; a view shows what another one made."""
    return node.name in floats and node.op_type not in VIEWS


def _numbers_a_channel(
    node: "onnx.NodeProto", shapes: dict[str, tuple[int, ...]], own: set[str]
) -> tuple[str, ...]:
    """The constants that scale and shift what a node gives, each one number a channel."""
    if node.op_type == "LayerNormalization":
        # Over several axes the factor is no vector.
        names = [name for name in node.input[1:3] if name]
    elif node.op_type in ("Mul", "Add"):
        names = [name for name in node.input if name in shapes]
    else:
        return ()
    flat = all(name in own and shapes[name] and _is_vector(shapes[name]) for name in names)
    return tuple(names) if flat else ()


def _is_vector(shape: tuple[int, ...]) -> bool:
    """Whether all numbers lie along the last axis, and there are several."""
    return shape[-1] > 1 and int(np.prod(shape)) == shape[-1]


def _products(
    facts: rewriting.ModelFacts, node: "onnx.NodeProto", tensor: str, matrices: set[str]
) -> tuple[tuple[str, int], ...]:
    """The weights that a tensor meets in a node or behind views, and the axes along its last one;
    none where it meets anything else, too.
    """
    if node.op_type in VIEWS and node.input[0] == tensor:
        after = node.output[0]
        last = [(facts.shapes.get(name) or (None,))[-1] for name in (tensor, after)]
        behind = facts.readers.get(after, [])
        if after in facts.outputs or not isinstance(last[0], int) or last[0] != last[1]:
            return ()
        found = [_products(facts, each, after, matrices) for each in behind]
        return tuple(pair for each in found for pair in each) if found and all(found) else ()
    if node.op_type not in ("MatMul", "Gemm") or node.input[0] != tensor:
        return ()
    if node.input[1] not in matrices:
        return ()
    said = operators.attributes(node)
    if said.get("transA"):
        return ()
    return ((node.input[1], 1 if said.get("transB") else 0),)
