"""The trained form of each ONNX operator that has one."""

from typing import TYPE_CHECKING

from edgekiln.compiler.onnx_model import operators
from edgekiln.compiler.qat import elementwise, moves, pools, products, recurrent

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx

    from edgekiln.compiler.qat.node import Form

_FORMS: "Mapping[str, Form]" = {
    "Add": elementwise.add,
    "AveragePool": pools.average_pool,
    "Clip": elementwise.clip,
    "Concat": moves.concat,
    "Conv": products.conv,
    "DepthToSpace": moves.by_index,
    "Dropout": moves.identity,
    "Flatten": moves.reshape,
    "Gather": moves.by_index,
    "Gemm": products.gemm,
    "GlobalAveragePool": pools.global_average_pool,
    "GlobalMaxPool": pools.global_max_pool,
    "Identity": moves.identity,
    "LogSoftmax": elementwise.softmax,
    "MatMul": products.matmul,
    "MaxPool": pools.max_pool,
    "Mul": elementwise.mul,
    "Pad": moves.by_index,
    "ReduceMean": pools.reduce_mean,
    "Relu": elementwise.clip,
    "Reshape": moves.reshape,
    "Resize": moves.by_index,
    "Slice": moves.by_index,
    "Softmax": elementwise.softmax,
    "SpaceToDepth": moves.by_index,
    "Split": moves.by_index,
    "Squeeze": moves.reshape,
    "Transpose": moves.transpose,
    "Unsqueeze": moves.reshape,
    "Upsample": moves.by_index,
}


def form_of(node: "onnx.NodeProto") -> "Form | None":
    """How a network under training computes it; None: it does not."""
    if recurrent.is_layer(node):
        return recurrent.layer
    if node.domain not in ("", "ai.onnx"):
        return None
    found = _FORMS.get(node.op_type)
    if found is None and operators.unary(node.op_type, node.domain):
        return elementwise.function
    return found
