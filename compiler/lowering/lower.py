"""The lowered graph becomes a program: a kernel and its arguments for each operation."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from edgekiln.compiler.ir.graph import Graph, Node
from edgekiln.compiler.ir.program import Program
from edgekiln.compiler.lowering import compute, fallback, float_kernels, movement, rows
from edgekiln.compiler.lowering.state import Lowering, spec_of
from edgekiln.compiler.tuning.table import Choices

if TYPE_CHECKING:
    from edgekiln.compiler.onnx_model.io import Meta
    from edgekiln.targets.isa.base import MicroKernel

LOWERINGS: dict[str, Callable[[Lowering, Node], None]] = {
    "quantize": compute.quantize,
    "dequantize": compute.dequantize,
    "conv2d": compute.conv2d,
    "dense": compute.dense,
    "matmul": rows.matmul,
    "softmax": rows.softmax,
    "layer_norm": rows.layer_norm,
    "add": compute.binary,
    "mul": compute.binary,
    "table": compute.table,
    "max_pool": compute.max_pool,
    "avg_pool": compute.avg_pool,
    "global_avg_pool": compute.global_avg_pool,
    "requantize": movement.requantize,
    "reshape": movement.reshape,
    "transpose": movement.transpose,
    "pad": movement.pad,
    "slice": movement.slice_,
    "interleave": movement.interleave,
    "repeat": movement.repeat,
    "concat": movement.concat,
    "float": fallback.island,
}
# Operations on floats whose kernels are others.
FLOAT_LOWERINGS: dict[str, Callable[[Lowering, Node], None]] = {
    "conv2d": float_kernels.conv2d,
    "dense": float_kernels.dense,
    "matmul": float_kernels.matmul,
    "softmax": float_kernels.softmax,
    "layer_norm": float_kernels.layer_norm,
    "add": float_kernels.binary,
    "mul": float_kernels.binary,
    "function": float_kernels.function,
}


def lower(
    graph: Graph,
    mk: "MicroKernel",
    tvm_target: Mapping[str, Any],
    *,
    name: str,
    meta: "Meta",
    model_sha256: str,
    choices: Choices | None = None,
    compact: bool = False,
) -> Program:
    """Choose and build the kernels of a graph that went through `passes.pipeline`.

    Args:
        choices: of register tiles; remembers the layers that had one. None: the kernels' defaults.
        compact: whether constants must not grow for speed.
    """
    lowering = Lowering(
        graph=graph, mk=mk, tvm_target=tvm_target, choices=choices or Choices(), compact=compact
    )
    for node in graph.nodes:
        on_floats = node.op in FLOAT_LOWERINGS and lowering.is_float(node)
        (FLOAT_LOWERINGS if on_floats else LOWERINGS)[node.op](lowering, node)
    inputs = tuple(
        spec_of(graph.tensors[name], preprocessing=None if i else meta.preprocessing)
        for i, name in enumerate(graph.inputs)
    )
    outputs = tuple(
        spec_of(graph.tensors[name], labels=() if i else meta.labels)
        for i, name in enumerate(graph.outputs)
    )
    return Program(
        name=name,
        inputs=inputs,
        outputs=outputs,
        buffers=tuple(lowering.buffers.values()),
        calls=tuple(lowering.calls),
        model_sha256=model_sha256,
    )
