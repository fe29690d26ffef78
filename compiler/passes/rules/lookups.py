"""Any function of one code as a table."""

from dataclasses import dataclass

import numpy as np

from edgekiln.compiler.ir.codes import Table
from edgekiln.compiler.ir.node import Node
from edgekiln.compiler.ir.ops import ChannelLookup, Lookup
from edgekiln.compiler.ir.reference import evaluate
from edgekiln.compiler.ir.tensor import BYTES, QMAX, QMIN
from edgekiln.compiler.onnx_model import operators
from edgekiln.compiler.onnx_model.tables import table_channels
from edgekiln.compiler.passes.rewriter import Rewriter


@dataclass(frozen=True, kw_only=True)
class _Region:
    """Elementwise operators between one quantized value and another."""

    nodes: list[Node]
    root: str  # the value that they begin with
    channels: int  # 0: all channels are treated alike


def lookup(rw: Rewriter, q: Node) -> bool:
    """Replace the float operators before a QuantizeLinear by a table, if one code decides them; of
    an image by one a channel, where numbers differ between channels.

    The operators stay in the graph until nobody needs them.
    """
    region = _region(rw, q.inputs[0])
    if region is None:
        return False
    x = rw.graph.tensors[rw.view[region.root]]
    if not {x.dtype, rw.quantized_dtype(q)} <= BYTES:
        return False
    assert x.quant is not None
    codes = np.arange(QMIN[x.dtype], QMAX[x.dtype] + 1)
    values = ((codes - x.quant.zero_point) * np.float32(x.quant.scale)).astype(np.float32)
    if region.channels:  # a column each of an image that is one column wide
        values = np.tile(values[None, None, :, None], (1, region.channels, 1, 1))
    constants = {
        name: constant.reshape(-1) if constant.size == 1 else constant
        for node in region.nodes
        for name in node.inputs
        if name and (constant := rw.constant(name)) is not None
    }
    with np.errstate(all="ignore"):  # log(0) on codes that never occur
        # The 256 codes are one row; numbers of any rank were made (1,), so that the result is a
        # row, too.
        feeds = {**constants, region.root: values}
        (result,) = evaluate(region.nodes, feeds, [q.inputs[0]], rw.graph.opset)
    quant, dtype = rw.scale(q), rw.quantized_dtype(q)
    with np.errstate(invalid="ignore"):
        steps = np.rint(result.astype(np.float32) / np.float32(quant.scale)) + quant.zero_point
    # NaN has no code; the lowest one stands for it, as where kernels and ONNX Runtime quantize.
    entries = np.nan_to_num(steps, nan=QMIN[dtype]).clip(QMIN[dtype], QMAX[dtype])
    if region.channels:
        table = Table(entries=entries.reshape(region.channels, 256).astype(dtype))
        rw.make(ChannelLookup(table=table), (x.name,), q.name)
    else:
        rw.make(Lookup(table=Table(entries=entries.astype(dtype))), (x.name,), q.name)
    return True


def _region(rw: Rewriter, output: str) -> _Region | None:
    """The elementwise operators between one quantized value and `output`, and that value."""
    found: list[Node] = []
    roots: set[str] = set()
    constants: list[tuple[int, ...]] = []
    stack, seen = [output], set()
    shape = rw.graph.tensors[output].shape
    while stack:
        name = stack.pop()
        if name in seen or not name:
            continue
        seen.add(name)
        constant = rw.constant(name)
        if constant is not None:
            constants.append(constant.shape)
        elif name in rw.view:
            roots.add(name)
        elif name in rw.made and operators.unary(rw.made[name].op.kind):
            if rw.graph.tensors[name].shape != shape:
                return None
            found.append(rw.made[name])
            stack.extend(rw.made[name].inputs)
        else:
            return None
    channels = table_channels(shape, constants)
    if channels is None or len(roots) != 1 or not found:
        return None
    root = min(roots)
    if rw.graph.tensors[root].shape != shape:
        return None
    order = {node.name: i for i, node in enumerate(rw.nodes)}
    nodes = sorted(found, key=lambda node: order[node.name])
    return _Region(nodes=nodes, root=root, channels=channels)
