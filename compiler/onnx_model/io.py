"""ONNX files as artifacts: read with every check a foreign file needs; the facts we keep inside."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekiln.compiler.onnx_model import operators, validate
from edgekiln.runtime.codec import encode
from edgekiln.runtime.errors import InputError, UnsupportedError
from edgekiln.runtime.files import written_whole
from edgekiln.runtime.manifest import Preprocessing

if TYPE_CHECKING:
    import onnx

_PREFIX = "edgekiln."
QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"

# A symbolic extent is its name ("batch"), an unknown one "?".
Extent = int | str


@dataclass(frozen=True, kw_only=True)
class Meta:
    """What a model file says about its own use; empty fields mean that it does not say."""

    preprocessing: Preprocessing | None = None
    labels: tuple[str, ...] = ()
    data: str = ""  # spec of the data set it was trained on
    task: str = ""  # "classification" or "reconstruction"


def read_meta(model: "onnx.ModelProto") -> Meta:
    """Raises InputError when an `edgekiln.*` property does not parse."""
    found = {p.key.removeprefix(_PREFIX): p.value for p in model.metadata_props}
    try:
        raw = json.loads(found.get("preprocessing", "null"))
        labels = tuple(str(label) for label in json.loads(found.get("labels", "[]")))
        preprocessing = None if raw is None else _preprocessing(raw)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"the model's edgekiln.* metadata is damaged: {error}", hint="export the model again"
        ) from error
    return Meta(
        preprocessing=preprocessing,
        labels=labels,
        data=found.get("data", ""),
        task=found.get("task", ""),
    )


def write_meta(model: "onnx.ModelProto", meta: Meta) -> None:
    """Replace the `edgekiln.*` properties; foreign ones stay."""
    import onnx

    kept = {p.key: p.value for p in model.metadata_props if not p.key.startswith(_PREFIX)}
    ours: dict[str, str] = {}
    if meta.preprocessing is not None:
        ours["preprocessing"] = json.dumps(encode(meta.preprocessing), sort_keys=True)
    if meta.labels:
        ours["labels"] = json.dumps(list(meta.labels))
    if meta.data:
        ours["data"] = meta.data
    if meta.task:
        ours["task"] = meta.task
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, kept | {_PREFIX + k: v for k, v in sorted(ours.items())})


def load_model(path: Path) -> "onnx.ModelProto":
    """Read a self-contained, valid ONNX model with finite weights, in the form of today.

    Weights that are listed as inputs too, as exporters did before 2019, are weights alone;
    functions of the model's own are inlined; operator sets that no node uses are left out.

    Raises:
        InputError: no such file, or not a valid model.
        UnsupportedError: a valid one that is too large or has parts that no program can hold.
    """
    import onnx
    from google.protobuf.message import DecodeError

    model = onnx.ModelProto()
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise InputError(f"{path}: not a file", hint="give the path of an .onnx file")
        model.ParseFromString(path.read_bytes())
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except DecodeError as error:
        raise InputError(
            f"{path}: not an ONNX file, or cut short", hint="download or export it again"
        ) from error
    return validate.validated(model, str(path))


def save_model(model: "onnx.ModelProto", path: Path) -> None:
    """Write at once or not at all."""
    with written_whole(path) as stream:
        stream.write(model.SerializeToString(deterministic=True))


def is_quantized(model: "onnx.ModelProto") -> bool:
    """Whether any operation already works on integers (QDQ or the integer operators)."""
    known = (operators.of(node) for node in model.graph.node)
    return any(row is not None and row.role == "integer" for row in known)


def model_input(model: "onnx.ModelProto") -> "onnx.ValueInfoProto":
    """The one input that is not a weight. Raises UnsupportedError when there are more or none."""
    weights = {weight.name for weight in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    if len(inputs) != 1:
        names = ", ".join(value.name for value in inputs) or "none"
        raise UnsupportedError(f"a model needs exactly one input, this one has: {names}")
    value: onnx.ValueInfoProto = inputs[0]
    return value


def extents(value: "onnx.ValueInfoProto") -> tuple[Extent, ...]:
    """The shape of an input or output, batch first."""
    dims = value.type.tensor_type.shape.dim
    return tuple(d.dim_value if d.HasField("dim_value") else d.dim_param or "?" for d in dims)


def static_shape(model: "onnx.ModelProto") -> tuple[int, ...]:
    """The input's shape behind the batch.

    Raises:
        UnsupportedError: an extent is not fixed, or the input is not float32.
    """
    import onnx

    value = model_input(model)
    kind = value.type.tensor_type.elem_type
    if kind != onnx.TensorProto.FLOAT:
        raise UnsupportedError(
            f"input {value.name!r} is {onnx.TensorProto.DataType.Name(kind).lower()}, not float32",
            hint="export the model with a float32 input",
        )
    shape = extents(value)
    fixed = tuple(extent for extent in shape[1:] if isinstance(extent, int) and extent > 0)
    if not shape or len(fixed) != len(shape) - 1:
        raise UnsupportedError(
            f"input {value.name!r} has the shape {_text(shape)}: only the batch may be open",
            hint="export the model for one fixed input size",
        )
    return fixed


def fixed_batch(model: "onnx.ModelProto") -> int | None:
    """The batch the model insists on, or None when it takes any."""
    first, *_ = extents(model_input(model)) or ("?",)
    return first if isinstance(first, int) and first > 0 else None


def set_batch(model: "onnx.ModelProto", batch: int) -> None:
    """Fix an open batch. Raises UnsupportedError when the model insists on another one."""
    value = model_input(model)
    wanted = fixed_batch(model)
    if wanted is not None and wanted != batch:
        raise UnsupportedError(f"input {value.name!r} has a fixed batch of {wanted}, not {batch}")
    opened = value.type.tensor_type.shape.dim[0].dim_param
    value.type.tensor_type.shape.dim[0].dim_value = batch
    for other in (*model.graph.output, *model.graph.value_info):
        for dim in other.type.tensor_type.shape.dim:
            if opened and dim.dim_param == opened:
                dim.dim_value = batch


def input_layout(model: "onnx.ModelProto") -> str:
    """A guess from the input's shape: "NCHW", "NHWC" (1, 3 or 4 channels last) or "N*" (flat)."""
    shape = extents(model_input(model))
    if len(shape) != 4:
        return "N*"
    image_like = {1, 3, 4}
    return "NHWC" if shape[3] in image_like and shape[1] not in image_like else "NCHW"


def _preprocessing(raw: dict[str, Any]) -> Preprocessing:  # JSON
    raw = {key: tuple(v) if isinstance(v, list) else v for key, v in raw.items()}
    return Preprocessing(**raw)


def _text(shape: Sequence[Extent]) -> str:
    return "(" + ", ".join(str(extent) for extent in shape) + ")"
