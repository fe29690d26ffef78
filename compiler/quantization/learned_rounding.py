"""Learned rounding: whether each weight is rounded up or down is learned, layer by layer.

Rounding to the nearest code is best for a weight alone, not for the sum that it is part of. Nagel
et al., Up or Down? Adaptive Rounding for Post-Training Quantization, 2020 (arXiv:2004.10568): the
code is floor(w / s) + h(V), h a sigmoid stretched to [−0.1, 1.1] and cut to [0, 1] (equation 23);
V minimises the squared error of the layer's output behind its activation, given what the quantized
layers before it compute (equation 25), plus λ Σ (1 − |2 h(V) − 1|^β), which drives h to 0 or 1 as β
falls (equation 24). The layer's product runs on rows drawn from its inputs, not on whole images.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.onnx_model.four_bits import bits_of
from edgekiln.compiler.quantization.bias_correction import correct
from edgekiln.compiler.quantization.patches import Patches, patches
from edgekiln.compiler.quantization.products import (
    WEIGHT_BITS,
    ModelWeights,
    Product,
    RoundedWeights,
    from_rows,
    in_rows,
    most_code,
    products,
    real_weights,
)
from edgekiln.compiler.quantization.walk import LayerWalk

if TYPE_CHECKING:
    import onnx
    from torch import Tensor

    from edgekiln.compiler.onnx_model.model_inputs import Inputs

_LOW, _HIGH = -0.1, 1.1  # what the sigmoid is stretched to
_FIRST_BETA, _LAST_BETA, _WARM_UP = 20.0, 2.0, 0.2  # the share of steps without the second term
_WEIGHT = 0.01  # λ, of an error that is measured in the output's own variance
_RATE = 2e-2
_ROWS = 256  # of a step
_HELD_OUT = 8  # a row in so many judges, and is not learned from
# A layer's steps times its multiply-accumulates: work, and not time, bounds the search, so that a
# seed gives the same codes on every machine.
_MOST_STEPS, _LEAST_STEPS, _WORK = 300, 80, 20e9

Bounds = tuple[float, float]  # what an activation lets through


def learn_rounding(
    real: "onnx.ModelProto",
    quantized: "onnx.ModelProto",
    calls: "list[Inputs]",
    seed: int,
    advance: Callable[[int, int], None],
    bits: int = WEIGHT_BITS,
    keeps: Callable[[str], bool] = lambda _: False,
) -> int:
    """Round each layer's weights so that the layer gives what the float one does; its bias is
    corrected behind that.

    Args:
        real: the float model.
        quantized: what `quantize` made of it; weights and biases are rewritten in place.
        calls: the inputs that are learned from.
        seed: of everything that is drawn.
        advance: is told after each layer how many of how many are done.
        bits: of a weight, where it is not too few for a layer's.
        keeps: whether the layer of a name keeps its codes; its bias is corrected.

    Returns:
        How many layers are better for it; the others keep their codes.
    """
    nodes = {node.name: node for node in real.graph.node}
    names, floats = real_weights(real), ModelWeights(real)
    weights, layers = ModelWeights(quantized), products(quantized)
    exact = LayerWalk(real, calls, optimize=True)
    rounded = LayerWalk(quantized, calls, optimize=False)
    better = 0
    for done, product in enumerate(layers, start=1):
        wanted = exact.of(product.name)
        goal = floats[names[product.name]]
        rows = patches(
            nodes[product.name],
            goal.shape,
            rounded.before(product.name, product.data),
            wanted,
            seed + done,
        )
        now = weights.read(product)
        chosen = (
            None
            if rows is None or keeps(product.name)
            else _learned(
                product,
                goal,
                now,
                rows,
                _bounds(real, product.name),
                seed + done,
                most_code(bits_of(goal.shape, bits, WEIGHT_BITS)),
            )
        )
        if chosen is not None:
            weights.write(product, chosen)
            better += 1
        correct(product, weights, wanted, rounded.of(product.name))
        advance(done, len(layers))
    return better


def _bounds(model: "onnx.ModelProto", node: str) -> Bounds:
    """What the activation right behind a layer lets through: a Relu's or Clip's bounds."""
    from onnx import numpy_helper

    made = next(each.output[0] for each in model.graph.node if each.name == node)
    readers = [each for each in model.graph.node if made in each.input]
    if len(readers) != 1 or readers[0].op_type not in ("Relu", "Clip"):
        return -np.inf, np.inf
    if readers[0].op_type == "Relu":
        return 0.0, np.inf
    known = {weight.name: weight for weight in model.graph.initializer}
    bounds = [-np.inf, np.inf]
    for place, name in enumerate(readers[0].input[1:3]):
        if name in known:
            bounds[place] = float(numpy_helper.to_array(known[name]))
    return bounds[0], bounds[1]


def _learned(
    product: Product,
    goal: NDArray[np.generic],
    now: RoundedWeights,
    rows: Patches,
    bounds: Bounds,
    seed: int,
    largest: int,
) -> RoundedWeights | None:
    """Better codes for one layer; None where those that it has are as good."""
    import torch

    groups = len(rows.given)
    scale = now.scale.astype(np.float64)[:, None]
    steps = in_rows(goal, product.axis) / scale
    by_group = (groups, -1, steps.shape[1])  # (groups, channels, a row's values)
    real = torch.from_numpy(steps.reshape(by_group).astype(np.float32))
    scales = torch.from_numpy(np.broadcast_to(now.scale[:, None], steps.shape)[:, :1].copy())
    scales = scales.reshape(groups, 1, -1)
    bias = torch.zeros(len(scale)) if now.bias is None else torch.from_numpy(now.bias)
    layer = _Layer(real, scales, bias.reshape(groups, 1, -1), bounds, largest)
    given, wanted = torch.from_numpy(rows.given), layer.cut(torch.from_numpy(rows.wanted))
    held = torch.arange(given.shape[1]) % _HELD_OUT == 0
    before = torch.from_numpy(in_rows(now.codes, product.axis).reshape(by_group).astype(np.float32))
    codes = layer.learn(given[:, ~held], wanted[:, ~held], seed)
    if layer.error(codes, given[:, held], wanted[:, held]) >= layer.error(
        before, given[:, held], wanted[:, held]
    ):
        return None
    flat = codes.numpy().reshape(steps.shape)
    return RoundedWeights(
        codes=from_rows(flat, goal.shape, product.axis).astype(np.int8),
        scale=now.scale,
        bias=now.bias,
    )


class _Layer:
    """One product in torch, its weights in steps of their scales."""

    def __init__(
        self, real: "Tensor", scales: "Tensor", bias: "Tensor", bounds: Bounds, largest: int
    ) -> None:
        self._real, self._scales, self._bias, self._bounds = real, scales, bias, bounds
        self._largest = largest

    def cut(self, sums: "Tensor") -> "Tensor":
        """The activation."""
        low, high = self._bounds
        return sums if low == -np.inf and high == np.inf else sums.clamp(low, high)

    def outputs(self, codes: "Tensor", given: "Tensor") -> "Tensor":
        return self.cut(given @ codes.transpose(1, 2) * self._scales + self._bias)

    def error(self, codes: "Tensor", given: "Tensor", wanted: "Tensor") -> float:
        return float((self.outputs(codes, given) - wanted).square().mean())

    def learn(self, given: "Tensor", wanted: "Tensor", seed: int) -> "Tensor":
        """The codes, whole numbers."""
        import torch

        generator = torch.Generator().manual_seed(seed)
        floor = self._real.floor()
        # V such that h(V) is what rounding down leaves over: the first weights are the real ones.
        share = ((self._real - floor) - _LOW) / (_HIGH - _LOW)
        variable = torch.log(share / (1 - share)).requires_grad_()
        spread = float(wanted.var()) + 1e-12
        optimizer = torch.optim.Adam([variable], lr=_RATE)
        rows = min(_ROWS, given.shape[1])
        work = self._real.numel() * rows
        count = int(min(_MOST_STEPS, max(_LEAST_STEPS, _WORK / work)))
        for step in range(count):
            chosen = torch.randint(given.shape[1], (rows,), generator=generator)
            up = _stretched(variable)
            codes = self._codes(floor, up)
            difference = self.outputs(codes, given[:, chosen]) - wanted[:, chosen]
            loss = difference.square().mean() / spread
            progress = (step / count - _WARM_UP) / (1 - _WARM_UP)
            if progress > 0:
                beta = _LAST_BETA + (_FIRST_BETA - _LAST_BETA) * (1 - progress)
                loss = loss + _WEIGHT * (1 - (2 * up - 1).abs().pow(beta)).mean()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        with torch.no_grad():
            up = (_stretched(variable) >= 0.5).float()
            return self._codes(floor, up)

    def _codes(self, floor: "Tensor", up: "Tensor") -> "Tensor":
        return (floor + up).clamp(-self._largest, self._largest)


def _stretched(variable: "Tensor") -> "Tensor":
    return (variable.sigmoid() * (_HIGH - _LOW) + _LOW).clamp(0.0, 1.0)
