"""The lowered graph becomes a program: a kernel and its arguments for each operation."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekiln.compiler.floats import lower_island
from edgekiln.compiler.graph import Graph, Node, Tensor
from edgekiln.compiler.kernels.conv2d import Conv2d
from edgekiln.compiler.kernels.convert import Dequantize, Quantize
from edgekiln.compiler.kernels.copy import Copy
from edgekiln.compiler.kernels.depthwise import Depthwise2d
from edgekiln.compiler.kernels.elementwise import Binary, Table
from edgekiln.compiler.kernels.epilogue import Residual
from edgekiln.compiler.kernels.pool import AveragePool, MaxPool
from edgekiln.compiler.kernels.spec import F32, Kernel
from edgekiln.compiler.passes.layout import is_plain, memory_order
from edgekiln.compiler.program import Arg, Buffer, Call, Const, In, Out, Program, Ref
from edgekiln.runtime.manifest import TensorSpec

if TYPE_CHECKING:
    from edgekiln.compiler.onnx_meta import Meta
    from edgekiln.targets.isa.base import MicroKernel


def lower(
    graph: Graph,
    mk: "MicroKernel",
    tvm_target: Mapping[str, Any],
    *,
    name: str,
    meta: "Meta",
    model_sha256: str,
) -> Program:
    """Choose and build the kernels of a graph that went through `passes.pipeline`."""
    lowering = _Lowering(graph=graph, mk=mk, tvm_target=tvm_target)
    for node in graph.nodes:
        LOWERINGS[node.op](lowering, node)
    inputs = tuple(
        _spec(graph.tensors[name], preprocessing=None if i else meta.preprocessing)
        for i, name in enumerate(graph.inputs)
    )
    outputs = tuple(
        _spec(graph.tensors[name], labels=() if i else meta.labels)
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


def _spec(tensor: Tensor, **extra: Any) -> TensorSpec:
    quant = tensor.quant
    return TensorSpec(
        name=tensor.name,
        shape=tensor.shape,
        dtype=tensor.dtype,
        scale=quant.scale if quant else None,
        zero_point=quant.zero_point if quant else None,
        **extra,
    )


@dataclass
class _Lowering:
    graph: Graph
    mk: "MicroKernel"
    tvm_target: Mapping[str, Any]
    calls: list[Call] = field(default_factory=list)
    buffers: dict[str, Buffer] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)  # same bytes under another name

    def tensor(self, name: str) -> Tensor:
        return self.graph.tensors[name]

    def place(self, name: str) -> Arg:
        """Where a tensor lies: the program's memory, or a buffer that is made when first named."""
        name = self.aliases.get(name, name)
        if name in self.graph.inputs:
            return In(index=self.graph.inputs.index(name))
        if name in self.graph.outputs:
            return Out(index=self.graph.outputs.index(name))
        if name not in self.buffers:
            tensor = self.tensor(name)
            size = tensor.nhwc().elements if tensor.quant else tensor.elements
            self.buffers[name] = Buffer(name=name, bytes=size * np.dtype(tensor.dtype).itemsize)
        return Ref(buffer=name)

    def call(
        self, node: Node, kernel: Kernel, *, op: str = "", macs: int = 0, partial: int | None = None
    ) -> None:
        """Append a call. `partial` numbers the calls that together produce one tensor."""
        inputs = node.inputs if partial is None else node.inputs[partial : partial + 1]
        last = partial is None or partial == len(node.inputs) - 1
        result = self.tensor(node.name)
        self.calls.append(
            Call(
                name=node.name if last else f"{node.name}:part{partial}",
                op=op or node.op,
                func=kernel.func,
                args=(
                    *(self.place(name) for name in inputs),
                    *(Const(array=array) for array in kernel.constants),
                    self.place(node.name),
                ),
                work=kernel.work,
                macs=macs,
                output=_spec(result) if last else None,
                layout=result.layout,
                halo=result.halo,
            )
        )


def _float(shape: tuple[int, ...], like: Tensor) -> F32:
    """A float tensor in ONNX's order, seen with the axes of its quantized counterpart."""
    memory = like.nhwc()
    layout = "NCHW" if like.layout == "NHWC" else "NHWC"
    assert prod(shape) == like.elements
    return F32(n=memory.n, h=memory.h, w=memory.w, c=memory.c, layout=layout)


def _quantize(low: _Lowering, node: Node) -> None:
    x, y = low.tensor(node.inputs[0]), low.tensor(node.name)
    source = _float(x.shape, y)
    if node.attrs.get("channels_last"):
        source = F32(n=source.n, h=source.h, w=source.w, c=source.c)
    low.call(node, Quantize(x=source, y=y.nhwc()).build(low.mk))


def _dequantize(low: _Lowering, node: Node) -> None:
    x, y = low.tensor(node.inputs[0]), low.tensor(node.name)
    low.call(node, Dequantize(x=x.nhwc(), y=_float(y.shape, x)).build(low.mk))


def _conv2d(low: _Lowering, node: Node) -> None:
    attrs = node.attrs
    x, y = low.tensor(node.inputs[0]), low.tensor(node.name)
    weight = attrs["weight"]
    residual = None
    if "own" in attrs:
        residual = Residual(
            tensor=low.tensor(node.inputs[1]).nhwc(),
            scale=attrs["own"].scale,
            zero_point=attrs["own"].zero_point,
            clip=(attrs["own_lo"], attrs["own_hi"]),
        )
    common: dict[str, Any] = {
        "x": x.nhwc(),
        "weight": weight,
        "bias": attrs["bias"],
        "mult": attrs["mult"],
        "strides": attrs["strides"],
        "dilations": attrs["dilations"],
        "pads": attrs["pads"][:2],
        "residual": residual,
    }
    macs = y.elements * prod(weight.shape[1:])
    if y.quant is None:
        n, *size, c = y.shape if y.name.endswith(":nhwc") else (y.shape[0], 1, 1, y.shape[1])
        h, w = [1, *size][-2:]
        out = F32(n=n, h=h, w=w, c=c)
        kernel = Conv2d(y=out, groups=attrs["groups"], **common).build(low.mk)
        low.call(node, kernel, macs=macs)
        return
    common |= {"y": y.nhwc(), "clip": (attrs["lo"], attrs["hi"])}
    if attrs["groups"] == weight.shape[0] == x.nhwc().c > 1:
        low.call(node, Depthwise2d(**common).build(low.mk), op="depthwise_conv2d", macs=macs)
    else:
        low.call(node, Conv2d(groups=attrs["groups"], **common).build(low.mk), macs=macs)


def _dense(low: _Lowering, node: Node) -> None:
    """A 1×1 convolution whose pixels are the rows of a matrix."""
    attrs = node.attrs
    x, y = low.tensor(node.inputs[0]), low.tensor(node.name)
    channels, features = attrs["weight"].shape
    rows = x.elements // features
    source = replace_shape(x, rows, features).nhwc()
    target: Any = F32(n=1, h=1, w=rows, c=channels)
    clip = (0, 255)
    if y.quant is not None:
        target, clip = replace_shape(y, rows, channels).nhwc(), (attrs["lo"], attrs["hi"])
    kernel = Conv2d(
        x=source,
        y=target,
        weight=attrs["weight"][:, :, None, None],
        bias=attrs["bias"],
        mult=attrs["mult"],
        clip=clip,
    ).build(low.mk)
    low.call(node, kernel, macs=rows * channels * features)


def replace_shape(tensor: Tensor, rows: int, features: int) -> Tensor:
    """The same bytes as (1, rows, features)."""
    from dataclasses import replace

    return replace(tensor, shape=(1, rows, features), layout="plain")


def _binary(low: _Lowering, node: Node) -> None:
    a, b = (low.tensor(name) for name in node.inputs)
    kernel = Binary(
        kind=node.op,  # type: ignore[arg-type]
        a=a.nhwc(),
        b=b.nhwc(),
        y=low.tensor(node.name).nhwc(),
        clip=(node.attrs["lo"], node.attrs["hi"]),
    )
    low.call(node, kernel.build(low.mk))


def _table(low: _Lowering, node: Node) -> None:
    x, y = low.tensor(node.inputs[0]).nhwc(), low.tensor(node.name).nhwc()
    low.call(node, Table(x=x, y=y, table=node.attrs["table"]).build(low.mk))


def _max_pool(low: _Lowering, node: Node) -> None:
    x, y, attrs = low.tensor(node.inputs[0]), low.tensor(node.name), node.attrs
    kernel = MaxPool(
        x=x.nhwc(),
        y=y.nhwc(),
        kernel=attrs["kernel"],
        strides=attrs["strides"],
        dilations=attrs["dilations"],
        pads=attrs["pads"][:2],
    )
    low.call(node, kernel.build(low.mk))


def _avg_pool(low: _Lowering, node: Node) -> None:
    x, y, attrs = low.tensor(node.inputs[0]).nhwc(), low.tensor(node.name).nhwc(), node.attrs
    per_axis = [
        _counts(extent, out, k, s, p, attrs["count_include_pad"])
        for extent, out, k, s, p in zip(
            (x.h, x.w),
            (y.h, y.w),
            attrs["kernel"],
            attrs["strides"],
            zip(attrs["pads"][:2], attrs["pads"][2:], strict=True),
            strict=True,
        )
    ]
    kernel = AveragePool(
        x=x,
        y=y,
        kernel=attrs["kernel"],
        strides=attrs["strides"],
        counts=np.outer(*per_axis),
        pads=attrs["pads"][:2],
        clip=(attrs["lo"], attrs["hi"]),
    )
    low.call(node, kernel.build(low.mk))


def _counts(
    extent: int, out: int, kernel: int, stride: int, pads: tuple[int, int], include: bool
) -> "np.ndarray[Any, np.dtype[np.int64]]":
    """How many taps of each window on one axis count, as ONNX's AveragePool says."""
    low, high = (-pads[0], extent + pads[1]) if include else (0, extent)
    first = np.arange(out) * stride - pads[0]
    return np.minimum(first + kernel, high) - np.maximum(first, low)


def _global_avg_pool(low: _Lowering, node: Node) -> None:
    x, y, attrs = low.tensor(node.inputs[0]).nhwc(), low.tensor(node.name).nhwc(), node.attrs
    kernel = AveragePool(
        x=x,
        y=y,
        kernel=(x.h, x.w),
        strides=(1, 1),
        counts=np.array([[x.h * x.w]]),
        clip=(attrs["lo"], attrs["hi"]),
    )
    low.call(node, kernel.build(low.mk))


def _copy(low: _Lowering, node: Node, partial: int | None = None, **details: Any) -> None:
    """A call of the copy kernel over the axes of the result, or of what `details` says."""
    x, y = low.tensor(node.inputs[partial or 0]), low.tensor(node.name)
    (x_strides, x_offset), (y_strides, y_offset) = x.strides(), y.strides()
    values: dict[str, Any] = {
        "shape": y.shape,
        "x_strides": x_strides,
        "y_strides": y_strides,
        "x_offset": x_offset,
        "y_offset": y_offset,
    }
    values |= details
    kernel = Copy(x=x.nhwc(), y=y.nhwc(), **values).build(low.mk)
    low.call(node, kernel, partial=partial)


def _clip(node: Node) -> tuple[int, int] | None:
    return (node.attrs["lo"], node.attrs["hi"]) if "lo" in node.attrs else None


def _requantize(low: _Lowering, node: Node) -> None:
    _copy(low, node, clip=_clip(node))


def _reshape(low: _Lowering, node: Node) -> None:
    """The same values in the same ONNX order: no work when they lie in that order in memory."""
    x, y = low.tensor(node.inputs[0]), low.tensor(node.name)
    plain = node.attrs.get("memory") or (is_plain(x) and is_plain(y))
    if plain and y.name not in low.graph.outputs:
        low.aliases[y.name] = low.aliases.get(x.name, x.name)
        return
    if is_plain(y):  # read x in ONNX's order, write densely
        strides, offset = x.strides()
        dense = tuple(prod(x.shape[axis + 1 :]) for axis in range(len(x.shape)))
        _copy(low, node, shape=x.shape, x_strides=strides, x_offset=offset, y_strides=dense)
        return
    assert is_plain(x), f"{node.name}: a reshape between two channels-last images"
    dense = tuple(prod(y.shape[axis + 1 :]) for axis in range(len(y.shape)))
    _copy(low, node, x_strides=dense, x_offset=0)


def _transpose(low: _Lowering, node: Node) -> None:
    x, y, perm = low.tensor(node.inputs[0]), low.tensor(node.name), node.attrs["perm"]
    order = tuple(perm[axis] for axis in memory_order(y))
    bordered = any(vars(x.halo).values()) or any(vars(y.halo).values())
    if order == memory_order(x) and not bordered and y.name not in low.graph.outputs:
        low.aliases[y.name] = low.aliases.get(x.name, x.name)
        return
    strides, _ = x.strides()
    _copy(low, node, x_strides=tuple(strides[axis] for axis in perm))


def _pad(low: _Lowering, node: Node) -> None:
    x, y = low.tensor(node.inputs[0]), low.tensor(node.name)
    strides, offset = y.strides()
    offset += sum(s * before for s, before in zip(strides, node.attrs["before"], strict=True))
    _copy(low, node, shape=x.shape, y_offset=offset, fill=node.attrs["value"])


def _slice(low: _Lowering, node: Node) -> None:
    strides, offset = low.tensor(node.inputs[0]).strides()
    begin, steps = node.attrs["begin"], node.attrs["steps"]
    _copy(
        low,
        node,
        x_offset=offset + sum(s * b for s, b in zip(strides, begin, strict=True)),
        x_strides=tuple(s * step for s, step in zip(strides, steps, strict=True)),
    )


def _concat(low: _Lowering, node: Node) -> None:
    """One copy an operand, side by side into the result."""
    axis = node.attrs["axis"]
    strides, offset = low.tensor(node.name).strides()
    for i, name in enumerate(node.inputs):
        shape = low.tensor(name).shape
        _copy(low, node, i, shape=shape, y_offset=offset, border=i == 0, clip=_clip(node))
        offset += strides[axis] * shape[axis]


def _island(low: _Lowering, node: Node) -> None:
    """Float operators: TVM's functions, each a call; temporaries are buffers of their own."""
    for call in lower_island(low.graph, node, low.tvm_target):
        for name, size in zip(call.outputs, call.output_bytes, strict=True):
            if name not in low.graph.tensors:
                low.buffers[name] = Buffer(name=name, bytes=size)
        args: list[Arg] = [_operand(low, operand) for operand in (*call.inputs, *call.outputs)]
        known = low.graph.tensors.get(call.outputs[-1])
        low.calls.append(
            Call(
                name=call.outputs[-1],
                op="float",
                func=call.func,
                args=tuple(args),
                writes=len(call.outputs),
                integer=False,
                reason=node.reason,
                output=_spec(known) if known else None,
            )
        )


def _operand(low: _Lowering, operand: Any) -> Arg:
    if not isinstance(operand, str):
        return Const(array=operand)
    return Ref(buffer=operand) if operand in low.buffers else low.place(operand)


LOWERINGS: dict[str, Callable[[_Lowering, Node], None]] = {
    "quantize": _quantize,
    "dequantize": _dequantize,
    "conv2d": _conv2d,
    "dense": _dense,
    "add": _binary,
    "mul": _binary,
    "table": _table,
    "max_pool": _max_pool,
    "avg_pool": _avg_pool,
    "global_avg_pool": _global_avg_pool,
    "requantize": _requantize,
    "reshape": _reshape,
    "transpose": _transpose,
    "pad": _pad,
    "slice": _slice,
    "concat": _concat,
    "float": _island,
}
