"""ONNX files as artifacts: read with every check a foreign file needs; the facts we keep inside."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekiln.compiler.onnx_model import (
    extents,
    external_data,
    folding,
    half,
    operators,
    quantize_forms,
    sizes,
    suppression,
    validate,
)
from edgekiln.compiler.onnx_model.ends.steps import CTC, HYSTERESIS, SOUND, TEXTS
from edgekiln.compiler.onnx_model.model_bytes import model_bytes
from edgekiln.compiler.onnx_model.tflite import convert as tflite
from edgekiln.runtime import manifest
from edgekiln.runtime.codec import decode, encode, loads
from edgekiln.runtime.errors import InputError
from edgekiln.runtime.files import written_whole
from edgekiln.runtime.manifest import (
    DETECTIONS,
    SYMBOLS,
    Preprocessing,
    preprocessing_fault,
)
from edgekiln.runtime.waves import RATE_HZ

if TYPE_CHECKING:
    import onnx

_PREFIX = "edgekiln."
_CONTROL_FLOW = ("If", "Loop", "Scan")
QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"


@dataclass(frozen=True, kw_only=True)
class Meta:
    """What a model file says about its own use; empty fields mean that it does not say."""

    preprocessing: Preprocessing | None = None
    labels: tuple[str, ...] = ()
    data: str = ""  # spec of the data set it was trained on
    task: str = ""  # what its outputs are for, as `heads_of` reads it
    # What it remembers: an input, and the output that is its value in the next call.
    states: tuple[tuple[str, str], ...] = ()
    # The steps that were put before and after the network, see `ends`.
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()

    @property
    def holds(self) -> str:
        """What the rows of the first output are, see `TensorSpec.holds`."""
        steps = {step.partition("=")[0] for step in self.after}
        known = {DETECTIONS: DETECTIONS, CTC: SYMBOLS}
        return next((holds for step, holds in known.items() if step in steps), "")

    @property
    def rate_hz(self) -> int:
        """How many samples a second the sound has that the first input takes; 0: it takes none."""
        return RATE_HZ if self._begins_with(SOUND) else 0

    @property
    def takes(self) -> str:
        """What the rows of the first input are, see `TensorSpec.holds`."""
        return manifest.TEXT if any(map(self._begins_with, TEXTS)) else ""

    @property
    def decides_alone(self) -> bool:
        """Whether decisions behind the network are all that remembers."""
        steps = [step.partition("=")[0] for step in self.after]
        return len(self.states) == steps.count(HYSTERESIS) > 0

    def _begins_with(self, source: str) -> bool:
        return any(step.partition("=")[0] == source for step in self.before)


def read_meta(model: "onnx.ModelProto") -> Meta:
    """Raises InputError when an `edgekiln.*` property does not parse."""
    found = {p.key.removeprefix(_PREFIX): p.value for p in model.metadata_props}
    try:
        raw = loads(found.get("preprocessing", "null"))
        labels = tuple(str(label) for label in loads(found.get("labels", "[]")))
        states = tuple((str(a), str(b)) for a, b in loads(found.get("states", "[]")))
        before, after = (
            tuple(str(step) for step in loads(found.get(end, "[]"))) for end in ("before", "after")
        )
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
        states=states,
        before=before,
        after=after,
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
    if meta.states:
        ours["states"] = json.dumps(meta.states)
    for end, steps in (("before", meta.before), ("after", meta.after)):
        if steps:
            ours[end] = json.dumps(steps)
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, kept | {_PREFIX + k: v for k, v in sorted(ours.items())})


def load_model(path: Path, notes: list[str] | None = None) -> "onnx.ModelProto":
    """Read a valid ONNX or TFLite model with finite weights, in the form of today.

    Weights that are listed as inputs too, as exporters did before 2019, are weights alone; those in
    a file beside the model are read. Functions of the model's own are inlined, and so are If and
    Loop whose course is constant. Half floats are float32. Operator sets that no node uses are left
    out.

    Args:
        notes: gets a sentence for each change that the file's user should know.

    Raises:
        InputError: no such file, or not a valid model.
        UnsupportedError: a valid one that is too large or has parts that no program can hold.
    """
    import onnx
    from google.protobuf.message import DecodeError

    notes = [] if notes is None else notes
    if path.suffix == tflite.SUFFIX:
        return in_todays_form(tflite.to_onnx(path, sizes.max_elements(), notes), path, notes)
    model = onnx.ModelProto()
    try:
        model.ParseFromString(model_bytes(path))
    except DecodeError as error:
        raise InputError(
            f"{path}: not an ONNX file, or cut short", hint="download or export it again"
        ) from error
    return in_todays_form(model, path, notes)


def in_todays_form(model: "onnx.ModelProto", path: Path, notes: list[str]) -> "onnx.ModelProto":
    """What `load_model` makes of a file's content; `path` is for messages, and for the weights that
    lie beside it.
    """
    where = str(path)
    extents.leave_open(model)
    # The weights come first: whatever follows looks at them.
    if count := external_data.embed(model, path.parent, where):
        notes.append(f"{count} weights were read from a file beside it")
    model = quantize_forms.in_one_form(validate.validated(model, where))
    if half.to_float32(model):
        notes.append(half.NOTE)
    if before := _control_flow(model):
        plain = folding.settle(model)
        if gone := before - _control_flow(plain):
            notes.append(
                f"{gone} If, Loop or Scan of constant course were replaced by what they run"
            )
            # What stood in a branch or a body is the model's own graph now, and held to what that
            # must be.
            model = validate.validated(plain, where)
    if suppression.has(model):
        settled = folding.settle(model)
        if found := suppression.fix(settled, where):
            notes += found
            return validate.validated(settled, where)
    return model


def _control_flow(model: "onnx.ModelProto") -> int:
    """How many operators choose what is run."""
    return sum(node.op_type in _CONTROL_FLOW for node in model.graph.node)


def save_model(model: "onnx.ModelProto", path: Path) -> None:
    """Write at once or not at all."""
    with written_whole(path) as stream:
        stream.write(model.SerializeToString(deterministic=True))


def is_quantized(model: "onnx.ModelProto") -> bool:
    """Whether any operation already works on integers (QDQ or the integer operators)."""
    known = (operators.of(node) for node in model.graph.node)
    return any(row is not None and row.role == "integer" for row in known)


def _preprocessing(raw: dict[str, Any]) -> Preprocessing:  # JSON
    made = decode(Preprocessing, {**encode(Preprocessing()), **raw})
    if fault := preprocessing_fault(made):
        raise ValueError(fault)
    return made
