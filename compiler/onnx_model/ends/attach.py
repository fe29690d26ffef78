"""A model with the steps before and after it: it takes raw data and gives answers.

Everything becomes operators of the model, so that importer, kernels, verification and all targets
serve the steps as they serve the network.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.compiler.onnx_model import extents, io, own_functions, rewriting
from edgekiln.compiler.onnx_model.ends import (
    answers,
    columns,
    ctc,
    detections,
    network_image,
    pixels,
    sound,
    text,
)
from edgekiln.compiler.onnx_model.ends.graph_end import GraphEnd
from edgekiln.compiler.onnx_model.ends.steps import (
    AFTER,
    BEFORE,
    CTC,
    SOUND,
    TEXTS,
    EndStep,
    Size,
    parsed,
)
from edgekiln.compiler.onnx_model.raising import raised
from edgekiln.models.column_indices import HASH, KINDS
from edgekiln.runtime.errors import ConfigError
from edgekiln.runtime.images import CHANNELS
from edgekiln.runtime.manifest import Preprocessing

if TYPE_CHECKING:
    import onnx

_LEAST_OPSET = 13  # since when the functions' operators are as they are


def attach(model: "onnx.ModelProto", before: Sequence[str], after: Sequence[str]) -> list[str]:
    """Change a model in place; returns what there is to tell.

    Args:
        before, after: steps, see `steps`.

    Raises:
        ConfigError: a step is unknown or does not fit, or the model does not say how pixels become
            its numbers.
        UnsupportedError: it is of an old operator set, and cannot be raised to a newer one.
    """
    first, last = parsed(before, BEFORE, "before"), parsed(after, AFTER, "after")
    meta = io.read_meta(model)
    if meta.before or meta.after:
        raise ConfigError(
            "attach: the model has its steps already", hint="give the model that they were put to"
        )
    facts = rewriting.facts_of(model)
    hashes = any(step.name == HASH for step in first)
    least = columns.HASHING_OPSET if hashes else _LEAST_OPSET
    if facts.opset < least:
        model.CopyFrom(raised(model, facts.opset, least))
        facts = rewriting.facts_of(model)
    quantized = io.is_quantized(model)
    made = replace(
        meta, before=tuple(map(text.without_folders, before)),
        after=tuple(map(ctc.without_folders, after)),
    )  # fmt: skip
    notes = []
    picture = _SeenPicture(size=network_image.size_of(model, meta), place=None)
    if first:
        end = GraphEnd(facts=facts, side="before", quantized=quantized)
        front = _front(model, end, first, meta)
        made = replace(made, preprocessing=front.numbers)
        picture = replace(picture, place=front.place)
        notes.append(front.note)
        made = _remembering(model, end, made)
        nodes = [*end.nodes, *model.graph.node]
        rewriting.replace_nodes(model, nodes)
    if last:
        end = GraphEnd(facts=facts, side="after", quantized=quantized)
        note, labels = _back(model, end, last, picture, meta)
        made = _remembering(model, end, replace(made, labels=labels))
        notes.append(note)
        rewriting.replace_nodes(model, [*model.graph.node, *end.nodes])
    model.graph.initializer.extend(facts.made)
    rewriting.drop_unused_weights(model)
    _declare(model)
    io.write_meta(model, made)
    return notes


@dataclass(frozen=True, kw_only=True)
class _SeenPicture:
    """The picture that a network sees, if it sees one, and where it lies in the frame."""

    size: Size | None
    place: pixels.FramePlace | None


@dataclass(frozen=True, kw_only=True)
class _Front:
    """What the steps before a network are: how their input is made of a picture, where the
    network's picture lies in that, and what there is to tell.
    """

    numbers: Preprocessing | None
    place: pixels.FramePlace | None
    note: str


def _front(
    model: "onnx.ModelProto", end: GraphEnd, steps: Sequence[EndStep], meta: io.Meta
) -> _Front:
    """Put the steps before the first input."""
    source, *others = steps
    if source.name in KINDS:
        for step in others:
            if step.name not in KINDS:
                raise step.wrong("stands with columns", hint="columns have no other steps")
        told = columns.indices(model, end, steps, network_image.inputs(model, meta))
        # Columns may stand beside a first input that is none of them, and stays as it is.
        is_first = network_image.first_input(model, meta).name in columns.held(
            [step.text for step in steps]
        )
        listed = " → ".join(step.text for step in steps)
        return _Front(
            numbers=None if is_first else meta.preprocessing, place=None,
            note=f"before: {listed}: it takes {told}",
        )  # fmt: skip
    for step in others:
        if step.name in SOURCES:
            raise step.wrong("is no first step", hint="a model has one source")
    if source.name not in SOURCES:
        raise source.wrong("is no source", hint=f"begin with one of them: {', '.join(SOURCES)}")
    listed = " → ".join(step.text for step in steps)
    if source.name in TEXTS:
        note = f"before: {source.text}: {_read(model, end, steps, meta)}"
        return _Front(numbers=None, place=None, note=note)
    if source.name == SOUND:
        note = f"before: {listed}: it takes {_hear(model, end, steps, meta)}"
        return _Front(numbers=None, place=None, note=note)
    image = network_image.image_of(model, source, meta)
    size = source.size or image.size
    shape = pixels.frame_shape(source, size, CHANNELS[image.numbers.color])
    name = end.facts.free(source.name)
    sizes = size, image.size
    place = pixels.image(end, name, steps, sizes, image.numbers, image.value.name)
    _take(image.value, name, np.dtype(np.uint8), shape)
    note = f"before: {listed}: it takes uint8 {name} {list(shape)}"
    numbers = replace(_RAW, color=image.numbers.color) if source.name == "pixels" else None
    return _Front(numbers=numbers, place=place, note=note)


SOURCES = (*pixels.SOURCES, SOUND, *TEXTS, *KINDS)
_RAW = Preprocessing(scale=1.0, mean=(0.0,), std=(1.0,), layout="NHWC")


def _read(model: "onnx.ModelProto", end: GraphEnd, steps: Sequence[EndStep], meta: io.Meta) -> str:
    """Put the way from text before the inputs; returns what there is to tell."""
    source, *others = steps
    if others:
        raise others[0].wrong("is a step of pictures", hint="text has no further steps")
    return text.tokens(model, end, source, network_image.inputs(model, meta))


def _hear(model: "onnx.ModelProto", end: GraphEnd, steps: Sequence[EndStep], meta: io.Meta) -> str:
    """Put the way from sound before the first input; returns what it takes.

    Raises:
        ConfigError: a step does not fit.
    """
    value = network_image.first_input(model, meta)
    inner = extents.extents(value)[1:]
    shape = tuple(extent for extent in inner if isinstance(extent, int))
    takes = sound.heard(steps, shape, meta.data)
    count = sound.samples(steps[0], takes)
    name = end.facts.free(SOUND)
    sound.spectra(end, name, takes, meta.preprocessing, value.name, remembers=bool(meta.states))
    _take(value, name, np.dtype(np.int16), (count,))
    return f"int16 {name} [{count}], 16 kHz"


def _remembering(model: "onnx.ModelProto", end: GraphEnd, made: io.Meta) -> io.Meta:
    """Let the model take and give the states of an end; returns what it says of itself."""
    import onnx

    batch = network_image.first_input(model, made).type.tensor_type.shape.dim[0]
    for state in end.remembered:
        for name, values in ((state.given, model.graph.input), (state.left, model.graph.output)):
            value = onnx.helper.make_tensor_value_info(
                name, onnx.TensorProto.FLOAT, [1, *state.shape]
            )
            value.type.tensor_type.shape.dim[0].CopyFrom(batch)
            values.append(value)
    states = ((state.given, state.left) for state in end.remembered)
    return replace(made, states=(*made.states, *states))


def _take(
    value: "onnx.ValueInfoProto", name: str, dtype: "np.dtype[np.generic]", shape: Sequence[int]
) -> None:
    """Make of an input another one; its batch stays."""
    import onnx

    kind = onnx.helper.np_dtype_to_tensor_dtype(dtype)
    new = onnx.helper.make_tensor_value_info(name, kind, [1, *shape])
    new.type.tensor_type.shape.dim[0].CopyFrom(value.type.tensor_type.shape.dim[0])
    value.CopyFrom(new)


_ALONE = (detections.STEP, CTC)


def _back(
    model: "onnx.ModelProto", end: GraphEnd, steps: Sequence[EndStep], picture: _SeenPicture,
    meta: io.Meta,
) -> tuple[str, tuple[str, ...]]:  # fmt: skip
    """Put the steps behind the first output, or, of a detector, behind those that it has; returns
    what there is to tell, and the names of the classes in what is given.
    """
    import onnx

    outputs, labels = list(model.graph.output), meta.labels
    finding = [step for step in steps if step.name in _ALONE]
    if finding and len(steps) > 1:
        raise finding[0].wrong(
            "stands with other steps", hint="it is a way from a network's outputs by itself"
        )
    read = {outputs[0].name}
    if finding and finding[0].name == CTC:
        given, labels = ctc.decode(end, finding[0], _given(end, outputs[0]), labels)
    elif finding:
        numbers = [_given(end, output) for output in outputs]
        given, labels = detections.detect(
            end, finding[0], [each for each in numbers if each.is_known],
            labels=labels, size=picture.size, place=picture.place,
        )  # fmt: skip
        read = {name for node in end.nodes for name in node.input}
    else:
        first = _given(end, outputs[0])
        scores = answers.named_scores(first.name, first.dtype, first.shape, meta)
        given = answers.answers(end, scores, steps)
    others = [output for output in outputs if output.name not in read]
    values = [
        onnx.helper.make_tensor_value_info(
            each.name, onnx.helper.np_dtype_to_tensor_dtype(np.dtype(each.dtype)), each.shape
        )
        for each in given
    ]
    del model.graph.output[:]
    model.graph.output.extend([*values, *others])
    listed = " → ".join(step.text for step in steps)
    return f"after: {listed}: it gives {', '.join(each.name for each in given)}", labels


def _given(end: GraphEnd, output: "onnx.ValueInfoProto") -> answers.GivenOutput:
    import onnx

    dtype = onnx.helper.tensor_dtype_to_np_dtype(output.type.tensor_type.elem_type).name
    shape = end.facts.shapes.get(output.name, extents.extents(output))
    return answers.GivenOutput(name=output.name, dtype=dtype, shape=shape)


def _declare(model: "onnx.ModelProto") -> None:
    """Give the model the functions of the nodes that it has now."""
    own_functions.declare(model)
    del model.graph.value_info[:]  # some are of tensors that lie elsewhere now
