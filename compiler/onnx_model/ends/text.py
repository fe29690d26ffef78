"""Text becomes the numbers of tokens that a network of BERT's or of GPT-2's kind takes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.compiler.onnx_model.ends import lookup_tables
from edgekiln.compiler.onnx_model.ends.functions import BYTE_PAIR, WORDPIECE
from edgekiln.compiler.onnx_model.ends.graph_end import GraphEnd
from edgekiln.compiler.onnx_model.ends.steps import BEFORE, BPE, TEXTS, EndStep, parsed
from edgekiln.compiler.onnx_model.extents import extents
from edgekiln.models.spec import join, split
from edgekiln.models.text import bpe_format
from edgekiln.models.text.bpe_vocabulary import merges_beside
from edgekiln.models.text.ready_tables import (
    MadeTables,
    TableSizes,
    byte_pair_tables,
    wordpiece_tables,
)
from edgekiln.models.text.table_format import LEAST_LENGTH, MOST_BYTES, MOST_LENGTH
from edgekiln.runtime.errors import InputError
from edgekiln.runtime.typed import did_you_mean, whole_number

if TYPE_CHECKING:
    import onnx

_BYTES_A_TOKEN = 8  # English has about five
# What exporters call the inputs of such networks.
_NAMES = {
    "ids": ("input_ids", "ids", "token_ids", "tokens"),
    "mask": ("attention_mask", "input_mask", "mask"),
    "types": ("token_type_ids", "segment_ids", "token_types"),
}
_AROUND = ("bos", "eos", "pad")
_KEYS = {
    "wordpiece": ("length", "bytes", "lower", *_NAMES),
    BPE: ("length", "bytes", "merges", *_AROUND, *_NAMES),
}
_NUMBERS = ("int32", "int64")
_USUAL = {"wordpiece": "vocab.txt", BPE: "tokenizer.json"}


@dataclass(frozen=True, kw_only=True)
class TextOptions:
    """What stands behind "wordpiece=" or "bpe="; `names` are those of inputs, by what these are,
    `around` those of tokens.
    """

    vocabulary: Path
    length: int | None
    text_bytes: int | None
    lower: bool | None
    merges: Path | None
    around: Mapping[str, str]
    names: Mapping[str, str]


def read(step: EndStep) -> TextOptions:
    """Raises ConfigError: an unknown option, or one that does not fit."""
    path, given = split(step.spec)
    if not path:
        raise step.wrong("names no vocabulary", hint=f"write {step.name}={_USUAL[step.name]}")
    for key in given:
        if key not in _KEYS[step.name]:
            raise step.wrong(
                f"no option {key!r}", hint=did_you_mean(key, _KEYS[step.name], what="options are")
            )
    numbers: dict[str, int | None] = {}
    for key, least, most in (
        ("length", LEAST_LENGTH, MOST_LENGTH),
        ("bytes", 1, _most_bytes(step)),
    ):
        number = whole_number(given[key], most) if key in given else None
        if key in given and (number is None or number < least):
            raise step.wrong(
                f"{key}={given[key]} does not fit",
                hint=f"give a whole number from {least} to {most}",
            )
        numbers[key] = number
    words = {"true": True, "false": False}
    if given.get("lower", "true") not in words:
        raise step.wrong(f"lower={given['lower']} does not fit", hint="give true or false")
    return TextOptions(
        vocabulary=Path(path), length=numbers["length"], text_bytes=numbers["bytes"],
        lower=words[given["lower"]] if "lower" in given else None,
        merges=Path(given["merges"]) if given.get("merges") else None,
        around={role: given[role] for role in _AROUND if role in given},
        names={role: given[role] for role in _NAMES if role in given},
    )  # fmt: skip


def _most_bytes(step: EndStep) -> int:
    return bpe_format.MOST_BYTES if step.name == BPE else MOST_BYTES


def files_of(before: Sequence[str]) -> list[Path]:
    """The files that steps read. Raises InputError: one is not there."""
    steps = parsed(before, BEFORE, "before")
    reading = [(step, read(step)) for step in steps if step.name in TEXTS]
    files = []
    for step, options in reading:
        files.append(options.vocabulary)
        if options.merges is not None:
            files.append(options.merges)
        elif step.name == BPE and (merges := merges_beside(options.vocabulary)).is_file():
            files.append(merges)  # which may lie beside a tokenizer.json, too
    for path in files:
        if not path.is_file():
            raise InputError(f"{path}: no such file", hint="give a vocab.txt or tokenizer.json")
    return files


def without_folders(text: str) -> str:
    """A step as a model's file keeps it: where its vocabulary lay is no one's business."""
    name, equals, spec = text.partition("=")
    if name not in TEXTS:
        return text
    path, options = split(spec)
    if "merges" in options:
        options["merges"] = Path(options["merges"]).name
    return name + equals + join(Path(path).name, options)


def tokens(
    model: "onnx.ModelProto", end: GraphEnd, step: EndStep,
    values: "Sequence[onnx.ValueInfoProto]",
) -> str:  # fmt: skip
    """Put the way from text before the inputs that take tokens; returns what there is to tell.

    Args:
        values: the inputs of the network, but for its states.

    Raises:
        ConfigError: the network takes other inputs, or a vocabulary of another size.
        InputError: the vocabulary cannot be read.
    """
    options = read(step)
    inputs = _inputs(step, options, values)
    length, dtype = _length(step, options, inputs["ids"]), _dtype(inputs["ids"])
    text_bytes = options.text_bytes or min(_BYTES_A_TOKEN * length, _most_bytes(step))
    sizes = TableSizes(length=length, text_bytes=text_bytes, id_bytes=np.dtype(dtype).itemsize)
    made, numbers = _tables(step, options, sizes)
    _check_size(step, end, max(numbers), inputs["ids"].name)
    name = end.facts.free("text")
    _write(end, name, made, inputs, step, length)
    _take(model, name, text_bytes, inputs)
    return (
        f"it takes uint8 {name} [{text_bytes}], UTF-8, and makes {length} tokens of "
        f"{len(numbers)}; its tables are {made.size} bytes"
    )


def _tables(step: EndStep, options: TextOptions, sizes: TableSizes) -> MadeTables:
    if step.name != BPE:
        return wordpiece_tables(options.vocabulary, options.lower, sizes)
    made, numbers, pad = byte_pair_tables(options.vocabulary, options.merges, options.around, sizes)
    if pad is None:
        raise step.wrong(
            "the vocabulary does not say what fills up behind a text", hint="name it: pad=TOKEN"
        )
    return made, numbers


def _inputs(
    step: EndStep, options: TextOptions, values: "Sequence[onnx.ValueInfoProto]"
) -> "dict[str, onnx.ValueInfoProto]":
    """The network's inputs by what they are: "ids", and perhaps "mask" and "types"."""
    there = {value.name: value for value in values}
    listed = ", ".join(f"{_dtype(value)} {name}" for name, value in there.items())
    found = {}
    for role, usual in _NAMES.items():
        names = [options.names[role]] if role in options.names else [
            name for name in there if name.partition(":")[0] in usual
        ]  # fmt: skip
        if role == "ids" and not names and len(there) == 1:
            names = [*there]
        if role in options.names and names[0] not in there:
            raise step.wrong(f"no input {names[0]!r}", hint=f"the network takes {listed}")
        if len(names) == 1:
            found[role] = there[names[0]]
    others = [name for name in there if name not in {value.name for value in found.values()}]
    if "ids" not in found or others or len({id(value) for value in found.values()}) < len(found):
        raise step.wrong(
            f"the network takes {listed}",
            hint=f"say which input takes what: {step.name}={_USUAL[step.name]}?ids=NAME&mask=NAME"
            "&types=NAME; there may be no others",
        )
    return found


def _dtype(value: "onnx.ValueInfoProto") -> str:
    import onnx

    kind = value.type.tensor_type.elem_type
    return onnx.helper.tensor_dtype_to_np_dtype(kind).name


def _length(step: EndStep, options: TextOptions, value: "onnx.ValueInfoProto") -> int:
    shape = extents(value)
    if _dtype(value) not in _NUMBERS or len(shape) != 2:
        raise step.wrong(
            f"input {value.name!r} is {_dtype(value)} {list(shape)}",
            hint="tokens go to an input of int32 or int64, (batch, length)",
        )
    length = shape[1]
    if not isinstance(length, int) or length < LEAST_LENGTH:
        named = isinstance(length, str) and length != "?"
        size = f"{length}=128" if named else f"{value.name}=1x128"
        raise step.wrong(
            f"input {value.name!r} has no fixed length: {list(shape)}",
            hint=f"fix it: --shape {size}",
        )
    if options.length not in (None, length):
        raise step.wrong(
            f"input {value.name!r} has {length} tokens, and not {options.length}",
            hint=f"leave length out, or export the model with {options.length}",
        )
    return length


def _check_size(step: EndStep, end: GraphEnd, largest: int, ids: str) -> None:
    """A number that the network does not know would become another token's."""
    if rows := lookup_tables.too_small(end, largest, ids):
        raise step.wrong(
            f"the vocabulary has numbers up to {largest}, the network knows {rows}",
            hint="give the vocabulary that the network was trained with",
        )


def _write(
    end: GraphEnd, name: str, made: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]",
    inputs: "Mapping[str, onnx.ValueInfoProto]", step: EndStep, length: int,
) -> None:  # fmt: skip
    """Write the nodes that make what the network takes, under the names of its inputs."""
    import onnx

    ids = inputs["ids"]
    kind = ids.type.tensor_type.elem_type
    kind_of = BYTE_PAIR if step.name == BPE else WORDPIECE
    end.own(kind_of, name, end.constant(made, "tables"), result=ids.name, length=length, to=kind)
    if mask := inputs.get("mask"):
        wanted = mask.type.tensor_type.elem_type
        result = mask.name if wanted == kind else end.free("mask")
        end.nodes[-1].output.append(result)
        if result != mask.name:
            end.op("Cast", result, result=mask.name, to=wanted)
    if types := inputs.get("types"):
        dtype = onnx.helper.tensor_dtype_to_np_dtype(types.type.tensor_type.elem_type)
        zero = onnx.numpy_helper.from_array(np.zeros(1, dtype), "zero")
        shape = end.op("Shape", ids.name, what="shape")  # whatever the batch will be
        end.op("ConstantOfShape", shape, result=types.name, value=zero)


def _take(
    model: "onnx.ModelProto", name: str, text_bytes: int,
    inputs: "Mapping[str, onnx.ValueInfoProto]",
) -> None:  # fmt: skip
    """Let the model take text in the place of the inputs."""
    import onnx

    text = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.UINT8, [1, text_bytes])
    batch = inputs["ids"].type.tensor_type.shape.dim[0]
    text.type.tensor_type.shape.dim[0].CopyFrom(batch)
    gone = {value.name for value in inputs.values()}
    kept = [value for value in model.graph.input if value.name not in gone]
    copies = [type(value).FromString(value.SerializeToString()) for value in (text, *kept)]
    del model.graph.input[:]
    model.graph.input.extend(copies)
