"""ONNX Runtime's quantizer, as `qdq` calls it."""

import logging
from typing import TYPE_CHECKING, Any

from edgekiln.compiler.onnx_model import operators

if TYPE_CHECKING:
    import onnx


# ONNX Runtime ships no types.
def quantizer(source: "onnx.ModelProto", names: list[str], tensors: dict[str, Any]) -> Any:
    """Make one for the nodes of these names, with the ranges of these tensors."""
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.calibrate import CalibrationMethod, TensorsData

    options: dict[str, Any] = {  # ONNX Runtime's own
        # Also a Transpose or MaxPool right at the input is done on int8.
        "ForceQuantizeNoInputCheck": True
    }
    if one_scale := _products_of_constants(source):
        options["TensorQuantOverrides"] = {
            name: [{"quant_type": QuantType.QInt8, "symmetric": True}] for name in one_scale
        }
    return _quantizer_class()(
        source,
        per_channel=True,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QInt8,
        tensors_range=TensorsData(CalibrationMethod.MinMax, tensors),
        nodes_to_quantize=names,
        nodes_to_exclude=[],
        op_types_to_quantize=operators.names("quantized", "pass-through"),
        extra_options=options,
    )


def _products_of_constants(model: "onnx.ModelProto") -> list[str]:
    """Constant operands of MatMul that are no matrix on the right: of these a kernel takes one
    scale, as of an activation.
    """
    ranks = {weight.name: len(weight.dims) for weight in model.graph.initializer}
    found = []
    for node in model.graph.node:
        if node.op_type == "MatMul":
            left, right = node.input
            found += [left] if left in ranks else []
            found += [right] if ranks.get(right, 2) != 2 else []
    return list(dict.fromkeys(found))


def _quantizer_class() -> Any:  # as above
    """ONNX Runtime's quantizer, with single tensors, not operator types, kept float."""
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    class Quantizer(QDQQuantizer):  # type: ignore[misc,unused-ignore]
        keep_float: frozenset[str] = frozenset()

        def quantize_activation_tensor(self, tensor_name: str) -> None:
            if tensor_name not in self.keep_float:
                super().quantize_activation_tensor(tensor_name)

        def adjust_tensor_ranges(self) -> None:
            """Make the range in front of a Relu or Clip what that lets through; but not of what the
            model gives besides.
            """
            ranges = self.tensors_range
            given = [value.name for value in self.model.model.graph.output if value.name in ranges]
            own = {name: ranges[name] for name in given}
            super().adjust_tensor_ranges()
            for name, span in own.items():
                ranges[name] = span

        def try_replacing_upstream_output(self, upstream: str, output: str) -> bool:
            """Drop the Relu or Clip between these; the codes of `output` do what it did. A float
            has no codes that could.
            """
            if output in self.keep_float:
                return False
            return bool(super().try_replacing_upstream_output(upstream, output))

    return Quantizer


def no_advice(record: logging.LogRecord) -> bool:
    """Drops the quantizer's advice to pre-process with ONNX Runtime's tools: `prepare` did."""
    return record.levelno >= logging.ERROR
