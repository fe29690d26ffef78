"""The contract between host and device: what a program takes, gives, and came from."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from edgekiln.runtime import codec
from edgekiln.runtime.errors import BundleError

SCHEMA_VERSION = 1
REBUILD_HINT = "the file is damaged or not EdgeKiln's: copy it again, or build it again"


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How a uint8 image becomes the model's input: (pixel * scale - mean) / std per channel."""

    scale: float = 1.0 / 255.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    layout: str = "NCHW"  # or "NHWC": the model input's own axis order; "N*" = flattened vector
    color: str = "RGB"  # or "L" (grey)


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


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One kernel call of a program, in call order."""

    name: str  # the ONNX tensor it produces
    op: str  # e.g. "conv2d", "depthwise_conv2d", "dense", "add", "float:Softmax"
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


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """`manifest.json` of a bundle."""

    schema: int = SCHEMA_VERSION
    program: ProgramSpec
    files: Mapping[str, str]  # path in the bundle → sha256
    provenance: tuple[Mapping[str, Any], ...]  # one record a stage, first to last
    report: Mapping[str, Any] = field(default_factory=dict)  # accuracy per stage, sizes, notes


Document = TypeVar("Document", ProgramSpec, Manifest)


def to_json(document: ProgramSpec | Manifest) -> str:
    """The text of `program.json` or `manifest.json`; equal documents give equal bytes."""
    return codec.dumps({"schema": SCHEMA_VERSION, **codec.encode(document)})


def from_json(kind: type[Document], text: str | bytes, where: str) -> Document:
    """Read what `to_json` wrote. `where` names the file in messages.

    Raises:
        BundleError: not JSON, of another schema version, or with missing, unknown or mistyped keys.
    """
    try:
        data = json.loads(text)
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
        return codec.decode(kind, data)
    except codec.CodecError as error:
        raise BundleError(f"{where}: {error}", hint=REBUILD_HINT) from error
