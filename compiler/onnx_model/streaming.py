"""The streaming form of a model over a window that slides along an axis, such as time.

The model is given the new frames alone, and remembers what else it takes: each convolution and pool
along the axis keeps the last frames of its operand and computes the new frames of its result. Where
that is not possible (padding within the window, a mean over all of it, whatever is not known), the
whole window of the operand is kept instead, and computed on as before. So, from the first full
window on, the answers are those of the model on the last window. What the model itself remembers is
read and written once a call, as without the window.

    window  ·  ·  ·  ·  x          past  ·  ·  ·  ·     new  x
            └──kernel──┘                 └──kernel────────┘
"""

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekiln.compiler.onnx_model import extents, io, rewriting
from edgekiln.compiler.onnx_model.frames import Frames, carried
from edgekiln.runtime.errors import ConfigError
from edgekiln.runtime.typed import whole_number

if TYPE_CHECKING:
    import onnx


def stream(model: "onnx.ModelProto", text: str) -> "tuple[onnx.ModelProto, list[str]]":
    """The streaming form, and notes of what it computes on the whole window.

    Args:
        text: "INPUT=AXIS:STEP": the axis of the input along which the window slides, and how many
            frames are new in each call.

    Raises:
        ConfigError: no such input or axis, a state of the model's own, or a step that is no part of
            the window.
    """
    # The walk sees the outer graph alone, and a branch may read any of its tensors.
    inside = [n.op_type for n in model.graph.node if any(a.HasField("g") for a in n.attribute)]
    if inside:
        raise ConfigError(
            f"--stream {text}: the model chooses by {inside[0]} what it runs",
            hint="fix what it depends on, by --shape and --constant",
        )
    inferred = rewriting.with_shapes(model)
    facts = rewriting.facts_of(inferred)
    name, start = _parsed(inferred, text)
    return _Streaming(model=inferred, facts=facts).run(name, start)


def _parsed(model: "onnx.ModelProto", text: str) -> tuple[str, Frames]:
    name, _, place = text.partition("=")
    axis, _, step = place.partition(":")
    inputs = {value.name: extents.extents(value) for value in extents.model_inputs(model)}
    place_of, new = (whole_number(part, extents.MOST) for part in (axis, step))
    if name in dict(io.read_meta(model).states):
        raise ConfigError(f"--stream {text}: {name!r} is a state", "a window is of what is given")
    if name not in inputs or place_of is None or new is None:
        known = ", ".join(f"{key} {shape}" for key, shape in inputs.items())
        raise ConfigError(
            f"--stream {text}: is no input and axis",
            hint=f"write INPUT=AXIS:STEP, as in x=2:1; the model's inputs are: {known}",
        )
    shape = inputs[name]
    length = shape[place_of] if 0 < place_of < len(shape) else 0
    if not isinstance(length, int) or not 0 < new < length:
        raise ConfigError(
            f"--stream {text}: {name!r} has the shape {shape}",
            hint="the axis is counted from 0, the first is the batch; a step is a part of the "
            "window, whose size is fixed",
        )
    return name, Frames(axis=place_of, new=new, length=length)


@dataclass
class _Streaming:
    """The rewriting of one model, node by node in their order."""

    model: "onnx.ModelProto"
    facts: rewriting.ModelFacts
    nodes: "list[onnx.NodeProto]" = field(default_factory=list)
    frames: dict[str, Frames] = field(default_factory=dict)  # of tensors that hold new ones alone
    pairs: list[tuple[str, str]] = field(default_factory=list)
    whole: list[str] = field(default_factory=list)  # operations that take all of a window
    # Operations that take equally many older frames of a tensor share one state.
    kept: dict[tuple[str, int], str] = field(default_factory=dict)

    def run(self, name: str, start: Frames) -> "tuple[onnx.ModelProto, list[str]]":
        graph = self.model.graph
        self.frames[name] = start
        for node in graph.node:
            self._node(node)
        for value in graph.output:  # an output is the whole window's, as the model has it
            if value.name in self.frames:
                self._rename_output(value.name)
        graph.initializer.extend(self.facts.made)
        rewriting.replace_nodes(self.model, self.nodes)
        (given,) = (value for value in graph.input if value.name == name)
        given.type.tensor_type.shape.dim[start.axis].dim_value = start.new
        # These are the shapes of whole windows; those of new frames are inferred below.
        del graph.value_info[:]
        meta = io.read_meta(self.model)
        io.write_meta(self.model, replace(meta, states=(*meta.states, *self.pairs)))
        note = f"{name} takes {start.new} new of {start.length} frames on axis {start.axis}"
        notes = [f"streaming: {note}, {len(self.pairs)} tensors keep what is older"]
        if self.whole:
            notes.append(f"on the whole window: {', '.join(dict.fromkeys(self.whole))}")
        return rewriting.with_shapes(self.model), notes

    def _node(self, node: "onnx.NodeProto") -> None:
        """Let a node work on new frames, or give it the windows that it takes."""
        import onnx

        moved = onnx.NodeProto()
        moved.CopyFrom(node)
        if any(name in self.frames for name in node.input):
            result = carried(self.facts, node, self.frames)
            if result is None:
                self.whole.append(f"{node.op_type} {node.name or node.output[0]}")
                moved.input[:] = [self._window(n) if n in self.frames else n for n in node.input]
            else:
                if result.past:
                    moved.input[0] = self._with_past(node.input[0], result.past)
                if result.identity:
                    moved = onnx.helper.make_node("Identity", moved.input[:1], moved.output)
                self.frames |= dict.fromkeys(node.output, result.frames)
        self.nodes.append(moved)

    def _window(self, name: str) -> str:
        """The whole window of a tensor."""
        frames = self.frames[name]
        return self._with_past(name, frames.length - frames.new)

    def _with_past(self, name: str, past: int) -> str:
        """The last `past` frames of a tensor that are older, before the new ones."""
        if (name, past) not in self.kept:
            self.kept[name, past] = self._keep(name, past) if past else name
        return self.kept[name, past]

    def _keep(self, name: str, past: int) -> str:
        """Remember frames of a tensor; of one that is dequantized its codes, by the same scale."""
        import onnx

        frames, maker = self.frames[name], self.facts.makers.get(name)
        codes = maker if maker is not None and maker.op_type == "DequantizeLinear" else None
        before, after = (f"{name}.{past}_{end}" for end in ("past", "next"))
        shape = list(self.facts.shapes[name])
        shape[frames.axis] = past
        dtype = self.facts.dtypes[name if codes is None else codes.input[0]]
        kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        value = onnx.helper.make_tensor_value_info(before, kind, shape)
        self.model.graph.input.append(value)
        value = onnx.helper.make_tensor_value_info(after, kind, shape)
        self.model.graph.output.append(value)
        self.pairs.append((before, after))
        numbers = list(codes.input[1:]) if codes is not None else []
        older = before
        if codes:
            older = self._op("DequantizeLinear", [before, *numbers], f"{before}.real")
        joined = self._op("Concat", [older, name], f"{name}.{past}_joined", axis=frames.axis)
        if codes:
            quantized = self._op("QuantizeLinear", [joined, *numbers], f"{joined}.codes")
            joined = self._op("DequantizeLinear", [quantized, *numbers], f"{joined}.real")
        bounds = (frames.new, frames.new + past, frames.axis)
        ends = [self.facts.add(f"{after}.bound", np.array([bound])) for bound in bounds]
        if codes:
            last = self._op("Slice", [joined, *ends], f"{after}.real")
            self._op("QuantizeLinear", [last, *numbers], after)
        else:
            self._op("Slice", [joined, *ends], after)
        return joined

    # Attributes are as `make_node` takes them.
    def _op(self, kind: str, inputs: list[str], result: str, **attributes: Any) -> str:
        import onnx

        self.nodes.append(onnx.helper.make_node(kind, inputs, [result], name=result, **attributes))
        return result

    def _rename_output(self, name: str) -> None:
        """Let the model's output be the window, under its name."""
        inner = self.facts.free(f"{name}.new")
        for node in self.nodes:
            node.input[:] = [inner if each == name else each for each in node.input]
            node.output[:] = [inner if each == name else each for each in node.output]
        self.frames[inner] = self.frames[name]
        self.facts.shapes[inner], self.facts.dtypes[inner] = (
            self.facts.shapes[name],
            self.facts.dtypes[name],
        )
        self.whole.append(f"output {name}")
        self._op("Identity", [self._window(inner)], name)
