"""The products of a QDQ model with their constant int8 weights: found, read and written anew."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.onnx_model import operators
from edgekiln.compiler.onnx_model.io import DEQUANTIZE

if TYPE_CHECKING:
    import onnx

WEIGHT_BITS = 8  # where nobody asks for fewer
_INT32 = np.iinfo(np.int32)
_MOST_BIAS = 2.0**30
LEAST_SCALE = 2.0**-96  # so that no scale of a sum is zero in float32


def most_code(bits: int = WEIGHT_BITS) -> int:
    """The largest code of a weight; the least is its negative, so that the range is symmetric."""
    return (1 << (bits - 1)) - 1


@dataclass(frozen=True, kw_only=True)
class Product:
    """A convolution, Gemm or MatMul of a QDQ model, by the names of what it reads.

    `codes`, `scale`, `bias_codes` and `bias_scale` are initializers; the last two are "" where it
    has no bias.
    """

    name: str  # of the node
    op: str
    data: str  # the activations it reads, real numbers behind their codes
    data_scale: str  # an initializer
    output: str
    axis: int  # of the weights, of the output channels
    codes: str
    scale: str
    bias_codes: str = ""
    bias_scale: str = ""

    @property
    def channel_axis(self) -> int:
        """The axis of the output's channels."""
        return 1 if self.op == "Conv" else -1


@dataclass(frozen=True, kw_only=True)
class RoundedWeights:
    """What of a layer's weights a method has chosen, other than rounding to the nearest."""

    codes: NDArray[np.int8]
    scale: NDArray[np.float32]  # one a channel
    bias: NDArray[np.float32] | None = None  # real numbers; None where there is none


class ModelWeights:
    """The initializers of a model by name, which can be replaced."""

    def __init__(self, model: "onnx.ModelProto") -> None:
        self._tensors = {weight.name: weight for weight in model.graph.initializer}

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def __getitem__(self, name: str) -> NDArray[np.generic]:
        from onnx import numpy_helper

        return numpy_helper.to_array(self._tensors[name])

    def real(self, name: str) -> NDArray[np.float64]:
        """An initializer in double precision."""
        return self[name].astype(np.float64)

    def __setitem__(self, name: str, array: NDArray[np.generic]) -> None:
        from onnx import numpy_helper

        # `ascontiguousarray` would give a number an axis.
        self._tensors[name].CopyFrom(numpy_helper.from_array(np.asarray(array, order="C"), name))

    def bias(self, product: Product) -> NDArray[np.float32] | None:
        """The bias as real numbers; None where there is none."""
        if not product.bias_codes:
            return None
        real = self.real(product.bias_codes) * self.real(product.bias_scale)
        return real.astype(np.float32)

    def least_scales(
        self, product: Product, bias: NDArray[np.floating] | None
    ) -> NDArray[np.float32]:
        """The least scale of each channel's weights at which a bias fits in 32 bits, and the sum
        that it begins, too; (channels,), or one number where there is no bias.
        """
        most = np.zeros(1) if bias is None else np.abs(bias.astype(np.float64))
        least = most / self.real(product.data_scale) / _MOST_BIAS
        return np.maximum(least, LEAST_SCALE).astype(np.float32)

    def set_bias(self, product: Product, bias: NDArray[np.floating]) -> None:
        """Round a bias to its codes, which keep their scale."""
        codes = np.rint(bias.astype(np.float64) / self.real(product.bias_scale))
        self[product.bias_codes] = np.clip(codes, _INT32.min, _INT32.max).astype(np.int32)

    def read(self, product: Product) -> RoundedWeights:
        """What the model has now."""
        return RoundedWeights(
            codes=self[product.codes].astype(np.int8),
            scale=self[product.scale].astype(np.float32),
            bias=self.bias(product),
        )

    def write(self, product: Product, chosen: RoundedWeights) -> None:
        """Put the weights in, and the bias at the scale that they give it."""
        self[product.codes] = chosen.codes
        self[product.scale] = chosen.scale
        if product.bias_codes and chosen.bias is not None:
            data_scale = self[product.data_scale].astype(np.float32)
            self[product.bias_scale] = (data_scale * chosen.scale).astype(np.float32)
            self.set_bias(product, chosen.bias)


def products(model: "onnx.ModelProto") -> list[Product]:
    """The integer products of a QDQ model with one scale a channel, in the order of the graph."""
    makers = {out: node for node in model.graph.node for out in node.output}
    stored = {weight.name for weight in model.graph.initializer}
    return list(_found(model, makers, stored))


def _found(
    model: "onnx.ModelProto", makers: "Mapping[str, onnx.NodeProto]", stored: set[str]
) -> Iterator[Product]:
    ranks = {weight.name: len(weight.dims) for weight in model.graph.initializer}
    for node in model.graph.node:
        row = operators.of(node)
        if row is None or row.weights is None or row.role != "quantized":
            continue
        data, weight = (makers.get(name) for name in node.input[:2])
        if not (_behind_codes(data) and _behind_codes(weight)):
            continue
        assert data is not None
        assert weight is not None
        # An operand like an activation has one scale in all; a product of activations no weights.
        if weight.input[0] not in stored or ranks[weight.input[1]] != 1:
            continue
        bias = makers.get(node.input[2]) if len(node.input) > 2 else None
        has_bias = _behind_codes(bias) and bias is not None and bias.input[0] in stored
        if len(node.input) > 2 and node.input[2] and not has_bias:
            continue  # somebody else's model
        turned = any(a.name == row.weights.transposed_by and a.i for a in node.attribute)
        yield Product(
            name=node.name,
            op=node.op_type,
            data=node.input[0],
            data_scale=data.input[1],
            output=node.output[0],
            axis=0 if turned else row.weights.axis,
            codes=weight.input[0],
            scale=weight.input[1],
            bias_codes=bias.input[0] if has_bias and bias is not None else "",
            bias_scale=bias.input[1] if has_bias and bias is not None else "",
        )


def _behind_codes(node: "onnx.NodeProto | None") -> bool:
    return node is not None and node.op_type == DEQUANTIZE


def real_weights(model: "onnx.ModelProto") -> dict[str, str]:
    """Find in a float model the name of each product's node → that of its weights."""
    stored = {weight.name for weight in model.graph.initializer}
    found = {}
    for node in model.graph.node:
        row = operators.of(node)
        if row is not None and row.weights is not None and node.input[1] in stored:
            found[node.name] = node.input[1]
    return found


def with_real_weights(real: "onnx.ModelProto", quantized: "onnx.ModelProto") -> "onnx.ModelProto":
    """A copy of a QDQ model whose products have their float model's weights, not rounded."""
    import onnx

    made = onnx.ModelProto()
    made.CopyFrom(quantized)
    floats = {weight.name: weight for weight in real.graph.initializer}
    names, layers = real_weights(real), {product.name for product in products(quantized)}
    taken = {weight.name for weight in made.graph.initializer}
    for node in made.graph.node:
        if node.name in layers:
            name = names[node.name]
            if name not in taken:
                made.graph.initializer.append(floats[name])
                taken.add(name)
            node.input[1] = name
    return made


def real_biases(model: "onnx.ModelProto") -> dict[str, str]:
    """Find in a float model the name of each product's node → that of its bias, if it has one."""
    stored = {weight.name for weight in model.graph.initializer}
    products_of = real_weights(model)
    return {
        node.name: node.input[2]
        for node in model.graph.node
        if node.name in products_of and len(node.input) > 2 and node.input[2] in stored
    }


def in_rows(weights: NDArray[np.generic], axis: int) -> NDArray[np.float64]:
    """(channels, what each is multiplied with), from weights whose channels lie on `axis`."""
    return np.moveaxis(weights, axis, 0).reshape(weights.shape[axis], -1).astype(np.float64)


def from_rows(rows: NDArray[np.generic], shape: tuple[int, ...], axis: int) -> NDArray[np.generic]:
    """The inverse of `in_rows`, for weights of `shape`."""
    turned = (shape[axis], *shape[:axis], *shape[axis + 1 :])
    return np.moveaxis(rows.reshape(turned), 0, axis)
