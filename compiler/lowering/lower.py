"""The lowered graph becomes a program: a kernel and its arguments for each operation."""

from collections.abc import Mapping

from edgekiln.compiler.ir import (
    column_ops,
    detection_ops,
    dynamic_ops,
    element_ops,
    fixed_ops,
    frame_ops,
    moves,
    onnx_op,
    ops,
    recurrent_ops,
    reduce_ops,
    selection_ops,
    sequence_ops,
    text_ops,
)
from edgekiln.compiler.ir import linear as products_of
from edgekiln.compiler.ir.graph import Graph
from edgekiln.compiler.ir.node import Node
from edgekiln.compiler.ir.program import Out, Program
from edgekiln.compiler.lowering import (
    columns,
    compute,
    detection,
    dynamic,
    fallback,
    fixed,
    frames,
    kept_states,
    linear,
    movement,
    products,
    recurrent,
    rows,
    selection,
    sequences,
    text,
)
from edgekiln.compiler.lowering.state import Lowering, SharedWeights, spec_of
from edgekiln.compiler.onnx_model.ends.columns import held
from edgekiln.compiler.onnx_model.io import Meta
from edgekiln.compiler.tuning.table import Choices
from edgekiln.runtime.errors import UnsupportedError
from edgekiln.targets.isa.base import MicroKernel


def lower(
    graph: Graph,
    mk: MicroKernel,
    tvm_target: Mapping[str, object],
    *,
    name: str,
    meta: Meta,
    model_sha256: str,
    choices: Choices | None = None,
    compact: bool = False,
    wider: SharedWeights | None = None,
) -> Program:
    """Choose and build the kernels of a graph that went through `passes.pipeline`.

    Args:
        choices: of register tiles; remembers the layers that had one. None: the kernels' defaults.
        compact: whether constants must not grow for speed.
        wider: of a program with points: the convolutions of those before this one, whose weights it
            may read, and to which its own are added.

    Raises:
        UnsupportedError: an operator has no kernel for such a chip.
    """
    lowering = Lowering(
        graph=graph, mk=mk, tvm_target=tvm_target, choices=choices or Choices(), compact=compact,
        wider=wider,
    )  # fmt: skip
    # Each reads what those before it wrote: `ir.validate` holds the graph to that order.
    for node in graph.nodes:
        _lower(lowering, node)
    _check_outputs(lowering)
    states = kept_states.keep(lowering)
    # The model's metadata describe its first input and its first output.
    columns_held = held(meta.before)
    inputs = tuple(
        spec_of(graph.tensors[name], holds=columns_held.get(name, ""))
        if i
        else spec_of(
            graph.tensors[name], preprocessing=meta.preprocessing, rate_hz=meta.rate_hz,
            holds=columns_held.get(name, meta.takes),
        )
        for i, name in enumerate(lowering.given)
    )  # fmt: skip
    outputs = tuple(
        spec_of(graph.tensors[name])
        if i
        else spec_of(graph.tensors[name], labels=meta.labels, holds=meta.holds)
        for i, name in enumerate(lowering.returned)
    )
    return Program(
        name=name,
        inputs=inputs,
        outputs=outputs,
        buffers=tuple(lowering.buffers.values()),
        calls=tuple(lowering.calls),
        model_sha256=model_sha256,
        states=states,
    )


def _check_outputs(low: Lowering) -> None:
    """Whether some call writes each of the program's outputs."""
    # A call's last arguments are what it writes.
    written = {
        arg.index
        for call in low.calls
        for arg in call.args[len(call.args) - call.writes :]
        if isinstance(arg, Out)
    }
    for index, name in enumerate(low.returned):
        if index not in written:
            raise kept_states.nothing_computes(name)


def _lower(low: Lowering, node: Node) -> None:  # noqa: PLR0912, PLR0915  # one case an operation
    match node.op:
        case ops.Quantize() as op:
            compute.quantize(low, node, op)
        case ops.Dequantize():
            compute.dequantize(low, node)
        case products_of.Conv2d() as op:
            linear.conv2d(low, node, op)
        case products_of.Dense() as op:
            linear.dense(low, node, op)
        case products_of.MatMul() as op:
            products.matmul(low, node, op)
        case ops.Softmax() as op:
            rows.softmax(low, node, op)
        case ops.LogSoftmax():
            rows.log_softmax(low, node)
        case ops.LayerNorm() as op:
            rows.layer_norm(low, node, op)
        case reduce_ops.Reduce() as op:
            rows.reduce(low, node, op)
        case ops.Binary() as op:
            compute.binary(low, node, op)
        case element_ops.Elements() as op:
            compute.elements(low, node, op)
        case ops.Lookup() as op:
            compute.lookup(low, node, op)
        case ops.ChannelLookup() as op:
            frames.channel_lookup(low, node, op)
        case selection_ops.TopPlaces() as op:
            selection.top_places(low, node, op)
        case selection_ops.TakeAlong() as op:
            selection.take_along(low, node, op)
        case selection_ops.OneHot() as op:
            selection.one_hot(low, node, op)
        case detection_ops.Suppress() as op:
            detection.suppress(low, node, op)
        case detection_ops.Detect() as op:
            detection.detect(low, node, op)
        case detection_ops.CountRows() as op:
            detection.count_rows(low, node, op)
        case detection_ops.FillRows() as op:
            detection.fill_rows(low, node, op)
        case sequence_ops.CtcCollapse() as op:
            sequences.ctc_collapse(low, node, op)
        case sequence_ops.CountSymbols():
            sequences.count_symbols(low, node)
        case sequence_ops.Hysteresis() as op:
            sequences.hysteresis(low, node, op)
        case column_ops.Bucket() as op:
            columns.bucket(low, node, op)
        case column_ops.HashIndex() as op:
            columns.hash_index(low, node, op)
        case frame_ops.Resample() as op:
            frames.resample(low, node, op)
        case frame_ops.YuvToPixels() as op:
            frames.yuv(low, node, op)
        case recurrent_ops.Recurrent() as op:
            recurrent.steps(low, node, op)
        case text_ops.TokensOp() as op:
            text.tokens(low, node, op)
        case ops.Map() as op:
            compute.function(low, node, op)
        case ops.MaxPool() as op:
            compute.max_pool(low, node, op)
        case ops.AveragePool() as op:
            compute.average_pool(low, node, op)
        case ops.GlobalAveragePool() as op:
            compute.global_average_pool(low, node, op)
        case dynamic_ops.RangeOf() as op:
            dynamic.range_of(low, node, op)
        case dynamic_ops.GivenRange() as op:
            dynamic.given_range(low, node, op)
        case dynamic_ops.RangePart() as op:
            dynamic.range_part(low, node, op)
        case dynamic_ops.QuantizeByRange() as op:
            dynamic.quantize(low, node, op)
        case dynamic_ops.Border() as op:
            dynamic.border(low, node, op)
        case dynamic_ops.Recode() as op:
            dynamic.recode(low, node, op)
        case dynamic_ops.ColumnSums() as op:
            dynamic.column_sums(low, node, op)
        case dynamic_ops.FinishSums() as op:
            dynamic.finish_sums(low, node, op)
        case fixed_ops.FixedBinary() as op:
            fixed.binary(low, node, op)
        case fixed_ops.FixedAveragePool() as op:
            fixed.average_pool(low, node, op)
        case fixed_ops.FixedMean() as op:
            fixed.mean(low, node, op)
        case fixed_ops.FixedSoftmax() as op:
            fixed.softmax(low, node, op)
        case moves.Requantize() as op:
            movement.requantize(low, node, op)
        case moves.Reshape() as op:
            movement.reshape(low, node, op)
        case moves.Transpose() as op:
            movement.transpose(low, node, op)
        case moves.Pad() as op:
            movement.pad(low, node, op)
        case moves.Slice() as op:
            movement.slice_(low, node, op)
        case moves.Take() as op:
            movement.take(low, node, op)
        case moves.TakePacked() as op:
            movement.take_packed(low, node, op)
        case moves.Repeat() as op:
            movement.repeat(low, node, op)
        case moves.DepthToSpace() as op:
            movement.depth_to_space(low, node, op)
        case moves.SpaceToDepth() as op:
            movement.space_to_depth(low, node, op)
        case moves.Concat() as op:
            movement.concat(low, node, op)
        case moves.Interleave() as op:
            movement.interleave(low, node, op)
        case onnx_op.Subgraph() as op if low.mk.group:
            raise _no_kernel(node, op)
        case onnx_op.Subgraph() as op:
            fallback.subgraph(low, node, op)
        case _:
            raise AssertionError(f"{node.name}: no kernel lowers {node.op.kind}")


def _no_kernel(node: Node, op: onnx_op.Subgraph) -> UnsupportedError:
    """The error of a program for a GPU: what is left to TVM has code for processors alone."""
    names = ", ".join(sorted({onnx_op.onnx_op(each).op_type for each in op.nodes}))
    return UnsupportedError(
        f"{node.name}: no kernel for GPUs computes {names} ({node.reason})",
        "replace or quantize it (docs/operators.md lists what has kernels), or build for a CPU",
    )
