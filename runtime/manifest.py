"""The contract between host and device: what a program takes, gives, and came from."""

import math
from collections.abc import Iterator, Mapping
from ctypes import c_float
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from edgekiln.runtime.codec import CodecError, decode, loads, to_json
from edgekiln.runtime.errors import BundleError
from edgekiln.runtime.hints import ABSENT_WHEN_EMPTY

SCHEMA_VERSION = 1
# What a tensor may hold.
DETECTIONS, SYMBOLS, TEXT = "detections", "symbols", "text"
VALUE, ID = "value", "id"
# What programs compute with, by numpy's names and with the bytes of a value.
DTYPES = {
    "bool": 1, "int8": 1, "uint8": 1, "int16": 2, "uint16": 2, "int32": 4, "uint32": 4,
    "int64": 8, "uint64": 8, "float16": 2, "float32": 4, "float64": 8,
}  # fmt: skip
MAX_PIXEL = 255
MAX_TENSOR_BYTES = 1 << 40  # more than any machine's memory: products stay exact below it
REBUILD_HINT = "the file is damaged or not EdgeKiln's: copy it again, or build it again"


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How a uint8 image becomes the model's input: (pixel * scale - mean) / std per channel."""

    scale: float = 1.0 / 255.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    # "NCHW" or "NHWC": the model input's own axis order; "N*": flattened; "": the samples' own.
    layout: str = "NCHW"
    color: str = "RGB"  # or "L" (grey)


def preprocessing_fault(numbers: Preprocessing) -> str:
    """Why a program cannot compute with these numbers, which are float32 there; "" where it can.

    Every pixel has to become a finite number, and so has each step on the way.
    """
    scale, *rest = (c_float(each).value for each in (numbers.scale, *numbers.mean, *numbers.std))
    mean, std = rest[: len(numbers.mean)], rest[len(numbers.mean) :]
    if not all(map(math.isfinite, (scale, *rest))):
        return "preprocessing has a number that float32 does not hold"
    if 0 in std:
        return "preprocessing divides by a std of 0"
    largest = MAX_PIXEL * abs(scale) + max(map(abs, mean), default=0.0)
    if not math.isfinite(c_float(largest / min(1.0, *map(abs, std))).value):
        return "preprocessing makes numbers that float32 does not hold"
    return ""


@dataclass(frozen=True, kw_only=True)
class TensorSpec:
    """One input or output of a program."""

    name: str
    shape: tuple[int, ...]  # static, batch first
    dtype: str  # numpy name
    scale: float | None = None  # for quantized tensors: real = (q - zero_point) * scale
    zero_point: int | None = None
    preprocessing: Preprocessing | None = None
    labels: tuple[str, ...] = ()  # class names, for a classifier's output
    # What its rows are, where that is known: "detections", of left, top, right, bottom, score and
    # class, behind which rows of -1 fill up; "symbols", numbers of classes, behind which -1 fills
    # up; of an input "text" in UTF-8, which ends with a zero, a "value", which becomes its
    # bucket, or an "id", which becomes its hash.
    holds: str = field(default="", metadata=ABSENT_WHEN_EMPTY)
    rate_hz: int = field(default=0, metadata=ABSENT_WHEN_EMPTY)  # of sound, in samples of 16 bits


@dataclass(frozen=True, kw_only=True)
class StateSpec:
    """What a program remembers from one call to the next: an input of its model and the output that
    is the next call's input.
    """

    tensor: TensorSpec  # as the arena holds it, under the name of the model's input
    output: str  # the model's output that becomes it
    offset: int  # bytes, in the arena


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One kernel call of a program, in call order."""

    name: str  # the ONNX tensor it produces
    op: str  # e.g. "conv2d", "depthwise_conv2d", "dense", "add", "fallback"
    kernel: str  # C symbol
    macs: int
    integer: bool  # False: computed in float between dequantize and quantize
    reason: str = ""  # why it stayed float
    # Where the result lies after the call, for per-layer verification: byte offset in the arena, or
    # None when it is a program output. `layout` is "NHWC" | "NCHW" | "plain".
    offset: int | None = None
    output: TensorSpec | None = None
    layout: str = "plain"
    halo: tuple[int, int, int, int] = (
        0,
        0,
        0,
        0,
    )  # top, left, bottom, right border in memory, in pixels
    work: int = 0  # independent items that threads may share; 0: one thread


@dataclass(frozen=True, kw_only=True)
class PointSpec:
    """An operating point beside the first: the same inputs and outputs by another network, in the
    same arena.
    """

    name: str
    outputs: tuple[TensorSpec, ...]  # codes may have a scale of their own
    layers: tuple[Layer, ...]
    model_sha256: str  # of the ONNX file that was compiled


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """What a program takes of a microcontroller's memories, and how much there is."""

    board: str  # the board of QEMU's system mode that its image, `firmware.elf`, is for
    flash_bytes: int  # code, with what it uses of the C library; weights; variables' initial values
    flash_available_bytes: int
    ram_bytes: int  # arena, with inputs and outputs in it; stack; variables
    ram_available_bytes: int
    stack_bytes: int  # measured, of one call of model_run
    variables_bytes: int  # of the C library: the program itself has none


@dataclass(frozen=True, kw_only=True)
class ProgramSpec:
    """What the compile stage made: `program.json` in a lib artifact."""

    name: str
    target: str
    machine: str
    features: tuple[str, ...]
    isa: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    arena_bytes: int
    weights_bytes: int
    code_bytes: int
    layers: tuple[Layer, ...]
    model_sha256: str  # of the ONNX file that was compiled
    footprint: Footprint | None = None  # of a microcontroller's program
    # What it remembers; reset to zeros. Such a program's calls are the steps of a stream.
    states: tuple[StateSpec, ...] = field(default=(), metadata=ABSENT_WHEN_EMPTY)
    # Of a program with several operating points: the one that all of the above is of, point 0, and
    # the others.
    point: str = field(default="", metadata=ABSENT_WHEN_EMPTY)
    further_points: tuple[PointSpec, ...] = field(default=(), metadata=ABSENT_WHEN_EMPTY)

    @property
    def every_point(self) -> "tuple[ProgramSpec | PointSpec, ...]":
        """The points by their numbers, or the only one."""
        return (self, *self.further_points)


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """`manifest.json` of a bundle."""

    schema: int = SCHEMA_VERSION
    program: ProgramSpec
    files: Mapping[str, str]  # path in the bundle → sha256
    provenance: tuple[Mapping[str, Any], ...]  # one record a stage, first to last
    report: Mapping[str, Any] = field(default_factory=dict)  # accuracy per stage, sizes, notes


Document = TypeVar("Document", ProgramSpec, Manifest)


def of_steps(spec: TensorSpec) -> TensorSpec:
    """The spec of any number of steps: its first axis is theirs."""
    return spec if spec.shape[:1] == (1,) else replace(spec, shape=(1, *spec.shape))


def text_of(document: ProgramSpec | Manifest) -> str:
    """The text of `program.json` or `manifest.json`; equal documents give equal bytes."""
    return to_json(document, SCHEMA_VERSION)


def from_json(kind: type[Document], text: str | bytes, where: str) -> Document:
    """Read what `text_of` wrote. `where` names the file in messages.

    Raises:
        BundleError: not JSON, of another schema version, with missing, unknown or mistyped keys, or
            with values that no program has.
    """
    try:
        data = loads(text)
    except ValueError as error:
        raise BundleError(f"{where}: not JSON: {error}", hint=REBUILD_HINT) from error
    if not isinstance(data, dict) or "schema" not in data:
        raise BundleError(f"{where}: has no schema version", hint=REBUILD_HINT)
    if data["schema"] != SCHEMA_VERSION:
        raise BundleError(
            f"{where}: schema version {data['schema']!r}, this EdgeKiln reads {SCHEMA_VERSION}",
            hint="use the EdgeKiln version that built it, or build it again",
        )
    if kind is ProgramSpec:  # its version is the file's, not the program's
        del data["schema"]
    try:
        document = decode(kind, data)
    except CodecError as error:
        raise BundleError(f"{where}: {error}", hint=REBUILD_HINT) from error
    program = document.program if isinstance(document, Manifest) else document
    if problem := next(_impossible(program), None):
        raise BundleError(f"{where}: {problem}", hint=REBUILD_HINT)
    return document


def _impossible(program: ProgramSpec) -> Iterator[str]:
    """What no program of ours has, and later code need not look for again, in words."""
    for name in ("arena_bytes", "weights_bytes", "code_bytes"):
        if getattr(program, name) < 0:
            yield f"{name} is negative"
    further = program.further_points
    outputs = (tensor for point in program.every_point for tensor in point.outputs)
    for tensor in (*program.inputs, *outputs):
        yield from _impossible_tensor(tensor)
    for layer in (layer for point in program.every_point for layer in point.layers):
        yield from _impossible_layer(layer, program.arena_bytes)
    for point in further:
        if [_place(tensor) for tensor in point.outputs] != [_place(t) for t in program.outputs]:
            yield f"point {point.name!r}: has other outputs than the first point"
    if bool(further) != bool(program.point) or (program.states and further):
        yield "points are given in part, or of a program with states"
    for state in program.states:
        yield from _impossible_state(state, program.arena_bytes)


def _place(tensor: TensorSpec) -> tuple[str, tuple[int, ...], str]:
    """What all points have in common of an output."""
    return tensor.name, tensor.shape, tensor.dtype


def _impossible_tensor(tensor: TensorSpec) -> Iterator[str]:
    if tensor.dtype not in DTYPES:
        yield f"{tensor.name!r}: dtype {tensor.dtype!r} is none of {', '.join(DTYPES)}"
    elif any(extent < 0 for extent in tensor.shape):
        yield f"{tensor.name!r}: shape {tensor.shape} has a negative extent"
    elif math.prod(tensor.shape) * DTYPES[tensor.dtype] > MAX_TENSOR_BYTES:
        yield f"{tensor.name!r}: shape {tensor.shape} is larger than any memory"
    if tensor.scale is not None and not 0 < c_float(tensor.scale).value < math.inf:
        yield f"{tensor.name!r}: scale {tensor.scale} is not above 0, as float32 has it"
    if tensor.holds == TEXT and (tensor.dtype != "uint8" or len(tensor.shape) != 2):
        yield f"{tensor.name!r}: {tensor.dtype} {tensor.shape} is no text"
    if tensor.preprocessing is not None and (fault := preprocessing_fault(tensor.preprocessing)):
        yield f"{tensor.name!r}: {fault}"


def _impossible_layer(layer: Layer, arena_bytes: int) -> Iterator[str]:
    if min(layer.macs, layer.work, *layer.halo) < 0:
        yield f"layer {layer.name!r}: a count is negative"
    if layer.output is None:
        return
    yield from _impossible_tensor(layer.output)
    image = len(layer.output.shape) == 4 and layer.layout == "NHWC"
    if any(layer.halo) and not image:
        yield f"layer {layer.name!r}: a border, and no image"
    if layer.offset is not None and layer.output.dtype in DTYPES:
        end = layer.offset + stored_bytes(layer)
        if layer.offset < 0 or end > arena_bytes:
            yield f"layer {layer.name!r}: lies at {layer.offset}, outside the arena"


def _impossible_state(state: StateSpec, arena_bytes: int) -> Iterator[str]:
    yield from _impossible_tensor(state.tensor)
    tensor = state.tensor
    if tensor.dtype in DTYPES:
        end = state.offset + math.prod(tensor.shape) * DTYPES[tensor.dtype]
        if state.offset < 0 or end > arena_bytes:
            yield f"state {tensor.name!r}: lies at {state.offset}, outside the arena"


def stored_bytes(layer: Layer) -> int:
    """What the result of a layer takes in memory, its border included."""
    tensor = layer.output
    assert tensor is not None, layer.name
    shape = tensor.shape
    if any(layer.halo):
        n, c, h, w = shape
        top, left, bottom, right = layer.halo
        shape = (n, c, top + h + bottom, left + w + right)
    return math.prod(shape) * DTYPES[tensor.dtype]
