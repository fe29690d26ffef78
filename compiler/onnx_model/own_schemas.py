"""What ONNX's inference is told of nodes of ours that are no functions of its own operators."""

from functools import cache
from typing import Any

from edgekiln.compiler.onnx_model.ends.functions import DOMAIN, TOKENIZERS


@cache
def register() -> None:
    """Make them known to `onnx`, once in a process."""
    import onnx

    schema = onnx.defs.OpSchema
    operand, attribute = schema.FormalParameter, schema.Attribute
    numbers = ["tensor(int32)", "tensor(int64)"]
    optional = schema.FormalParameterOption.Optional
    for name in TOKENIZERS:
        known = schema(
            name, DOMAIN, 1,
            doc="Texts, (N, bytes), become numbers of tokens, (N, length), and 1 where a token is.",
            inputs=[operand("text", "tensor(uint8)"), operand("tables", "tensor(uint8)")],
            outputs=[operand("ids", "T"), operand("mask", "T", param_option=optional)],
            type_constraints=[("T", numbers, "")],
            attributes=[
                attribute("length", schema.AttrType.INT, required=True),
                attribute("to", schema.AttrType.INT, required=True),
            ],
        )  # fmt: skip
        known.set_type_and_shape_inference_function(_infer)
        onnx.defs.register_schema(known)


def _infer(context: Any) -> None:  # onnx has no name for its type
    import onnx

    text: onnx.TypeProto | None = context.get_input_type(0)
    made = onnx.TypeProto()
    made.tensor_type.elem_type = context.get_attribute("to").i
    if text is not None and len(text.tensor_type.shape.dim) == 2:
        made.tensor_type.shape.dim.add().CopyFrom(text.tensor_type.shape.dim[0])
        made.tensor_type.shape.dim.add().dim_value = context.get_attribute("length").i
    for place in range(context.get_num_outputs()):
        context.set_output_type(place, made)
