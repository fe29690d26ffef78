"""A layer of products with constant weights: its tensors, and its numbers as ONNX has them.

Source: tflite/kernels/kernel_util.cc.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.onnx_model.tflite import quantities, schema, wide_weights
from edgekiln.compiler.onnx_model.tflite.model import TfliteOperator, TfliteTensor
from edgekiln.compiler.onnx_model.tflite.onnx_writer import OnnxWriter
from edgekiln.compiler.onnx_model.tflite.wire import FileTable

_N = TypeVar("_N", np.float32, np.int32)
_FAR = 1 << 30  # sums beyond it would wrap in 32 bits while they are rounded
_TYPES = "a program computes int8 layers with int8 weights, and float32 ones: quantize to int8"
# Of values, weights and results.
_KNOWN = (
    ("int8", "int8", "int8"),
    ("float32", "float32", "float32"),
    ("float32", "int8", "float32"),
)


def activation_of(options: FileTable) -> str:
    """The activation function that was fused."""
    number = options.integer("activation")
    return schema.ACTIVATIONS[number] if 0 <= number < len(schema.ACTIVATIONS) else str(number)


@dataclass(frozen=True, kw_only=True, eq=False)
class ConstantLayer:
    """`values` are the weights: integers without zero points, which int8 holds unless they were of
    uint8, or real numbers; `bias` int32 or reals, one a channel.
    """

    w: OnnxWriter
    op: TfliteOperator
    x: TfliteTensor
    y: TfliteTensor
    weights: TfliteTensor
    values: NDArray[np.generic]
    bias: NDArray[np.generic] | None
    phases: int = 1  # channels of a convolution to one of the result
    result: str = ""  # its name, if that is not the tensor's

    @property
    def of_codes(self) -> bool:
        """Whether it computes on integers."""
        return self.y.dtype != "float32"

    def float_operands(self, weights: NDArray[np.generic]) -> list[str]:
        """Those of ONNX's operator behind the first one."""
        w, stem = self.w, self.weights.name
        found = [w.weight(np.ascontiguousarray(weights, np.float32), f"{stem}.weights")]
        if self.bias is not None:
            bias = np.repeat(self.bias.reshape(-1).astype(np.float32), self.phases)
            found.append(w.weight(bias, f"{stem}.bias"))
        return found

    def code_operands(
        self, weights: NDArray[np.generic], shape: Sequence[int], options: FileTable
    ) -> list[str]:
        """Those of the functions Conv and Dense behind the first one, with the numbers of the
        channels in `shape`.
        """
        w, y, stem = self.w, self.y, self.weights.name
        outputs = max(shape) // self.phases
        sizes = {len(self.weights.scales), outputs if self.bias is None else self.bias.size}
        if not sizes <= {1, outputs} or (self.bias is not None and self.bias.size != outputs):
            raise w.refused(self.op, "scales or a bias that are not one a channel")
        parts = quantities.factors(*self._reals(outputs))
        integers, shifts = (np.repeat(part, self.phases) for part in parts)
        bias = np.zeros(outputs, np.int32) if self.bias is None else self.bias.reshape(-1)
        bias = np.repeat(bias, self.phases)
        self._check_sums(weights, bias, shifts)
        limits = quantities.code_limits(activation_of(options), y)
        if limits is None:
            raise w.refused(self.op, f"the activation {activation_of(options)} in it")
        numbers = {"zero": y.zero, "low": limits[0], "high": limits[1]}
        return [
            w.weight(np.ascontiguousarray(weights, np.int8), f"{stem}.weights"),
            w.weight(bias.reshape(shape), f"{stem}.bias"),
            w.weight(np.array(self.x.zero, self.x.dtype), f"{stem}.x_zero"),
            w.weight(integers.reshape(shape), f"{stem}.integer"),
            w.weight(shifts.reshape(shape), f"{stem}.shift"),
            *(w.weight(np.array(v, np.int64), f"{stem}.{k}") for k, v in numbers.items()),
        ]

    def _reals(self, channels: int) -> list[float]:
        """The factors from sums to steps of y, in double, as TFLite's preparation has them."""
        scales = self.weights.scales
        if self.x.unsigned and self.op.name != "FULLY_CONNECTED":
            # GetQuantizedConvolutionMultipler multiplies the scales in float32.
            product = np.float32(self.x.scale) * np.float32(scales[0])
            return [float(product) / self.y.scale] * channels
        # One scale for the tensor, or one a channel.
        every = scales * channels if len(scales) == 1 else scales
        return [self.x.scale * each / self.y.scale for each in every]

    def _check_sums(
        self, weights: NDArray[np.generic], bias: NDArray[np.generic], shifts: NDArray[np.int64]
    ) -> None:
        axes = tuple(range(1, weights.ndim)) if weights.ndim == 4 else (0,)
        # A code is at most 255 from its zero point.
        most = 255 * np.abs(weights.astype(np.int64)).sum(axes) + np.abs(bias.astype(np.int64))
        if (most << shifts.clip(0)).max(initial=0) >= _FAR:
            raise self.w.refused(self.op, "its sums may not fit 32 bits")


def layer_of(w: OnnxWriter, op: TfliteOperator, data: int = 0, bias: int = 2) -> ConstantLayer:
    """An operator as a layer.

    Args:
        data, bias: the places of these operands; the weights are the second one.
    """
    numbers = [op.inputs[i] if i < len(op.inputs) else -1 for i in (data, 1, bias)]
    if min(numbers[:2]) < 0:
        raise w.refused(op, "operands are missing")
    values = w.constant(numbers[1])
    if values is None:
        raise w.refused(op, "its weights are computed")
    x, weights, y = w.tensor(numbers[0]), w.tensor(numbers[1]), w.tensor(op.outputs[0])
    offsets = None if numbers[2] < 0 else w.constant(numbers[2])
    if numbers[2] >= 0 and offsets is None:
        raise w.refused(op, "its bias is computed")
    types = (x.dtype, values.dtype.name, y.dtype)
    if types not in _KNOWN:
        raise w.refused(op, f"of {types[0]} and weights of {types[1]}", _TYPES)
    of_codes, coded = y.dtype == "int8", types[1] == "int8"
    if (of_codes and not (x.quantized and y.quantized)) or (coded and not weights.quantized):
        raise w.refused(op, "its codes have no scales")
    if of_codes and offsets is not None and offsets.dtype != np.int32:
        raise w.refused(op, f"a bias of {offsets.dtype}")
    if coded:
        values = _centred(weights, values)
    if of_codes and not (x.unsigned or wide_weights.fit(values)):
        raise w.refused(op, "its asymmetric weights do not fit int8")
    if coded and not of_codes:
        w.notes.append(
            f"{op.name} {y.name!r} has int8 weights and float values: it is computed in floats, "
            "where TFLite quantizes the values at run time"
        )
        values = values.astype(np.float32) * _along(weights, np.array(weights.scales, np.float32))
    return ConstantLayer(w=w, op=op, x=x, y=y, weights=weights, values=values, bias=offsets)


def _centred(weights: TfliteTensor, values: NDArray[np.generic]) -> NDArray[np.int32]:
    """Weights without their zero points."""
    return values.astype(np.int32) - _along(weights, np.array(weights.zeros, np.int32))


def _along(tensor: TfliteTensor, each: NDArray[_N]) -> NDArray[_N]:
    """One number for each place of a tensor's axis, as it is broadcast."""
    shape = [1] * len(tensor.shape)
    if each.size > 1:
        shape[tensor.axis] = -1
    return each.reshape(shape)


def activated(
    w: OnnxWriter, op: TfliteOperator, options: FileTable, make: Callable[[str], str], result: str
) -> str:
    """What `make` makes of floats, under a name, with the fused activation behind it."""
    activation = activation_of(options)
    if activation == "NONE":
        return make(result)
    before = make(f"{result}.linear")
    if activation == "TANH":
        return w.op("Tanh", (before,), result)
    bounds = quantities.real_limits(activation)
    if bounds is None:
        raise w.refused(op, f"the activation {activation} in it")
    if activation == "RELU":
        return w.op("Relu", (before,), result)
    ends = [w.weight(np.array(end, np.float32), f"{result}.end") for end in bounds]
    return w.op("Clip", (before, *ends), result)
