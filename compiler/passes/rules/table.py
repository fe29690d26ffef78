"""Which rule rewrites which ONNX operator: of codes and of floats alike."""

from collections.abc import Callable

from edgekiln.compiler.ir.node import Node
from edgekiln.compiler.passes.rewriter import Rewriter
from edgekiln.compiler.passes.rules import elementwise, linear, movement, pooling, rows

# A rule emits operations of ours and returns None, or says why there are none.
Rule = Callable[[Rewriter, Node], str | None]

RULES: dict[str, Rule] = {
    "Conv": linear.conv,
    "Gemm": linear.gemm,
    "MatMul": linear.matmul,
    "Add": elementwise.add,
    "Mul": elementwise.mul,
    "Relu": elementwise.clip,
    "Clip": elementwise.clip,
    "Concat": elementwise.concat,
    "Softmax": rows.softmax,
    "LayerNormalization": rows.layer_norm,
    "BatchNormalization": rows.batch_norm,
    "MaxPool": pooling.max_pool,
    "AveragePool": pooling.average_pool,
    "GlobalAveragePool": pooling.global_average_pool,
    "GlobalMaxPool": pooling.global_max_pool,
    "ReduceMean": pooling.reduce_mean,
    "Reshape": movement.reshape,
    "Flatten": movement.reshape,
    "Squeeze": movement.reshape,
    "Unsqueeze": movement.reshape,
    "Identity": movement.reshape,
    "Dropout": movement.reshape,
    "Transpose": movement.transpose,
    "Pad": movement.pad,
    "Slice": movement.slice_,
    "Gather": movement.gather,
    "Split": movement.split,
    "Resize": movement.resize,
}
