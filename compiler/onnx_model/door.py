"""A user's model comes in: whole, in one file, in float32, with the sizes that he says."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgekiln.compiler.onnx_model import (
    extents,
    fixed_inputs,
    folding,
    io,
    states,
    streaming,
    suppression,
)
from edgekiln.compiler.onnx_model.exported import convert as exported
from edgekiln.compiler.onnx_model.sizes import max_elements
from edgekiln.runtime.errors import ConfigError
from edgekiln.runtime.typed import whole_number

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True, kw_only=True, eq=False)
class EnteredModel:
    """`notes` tell what was changed, a sentence each; without any the file is as it lies there."""

    model: "onnx.ModelProto"
    notes: tuple[str, ...]


def enter(
    path: Path,
    shapes: Sequence[str] = (),
    *,
    constants: Sequence[str] = (),
    window: str = "",
    pairs: Sequence[str] = (),
    find_states: bool = True,
) -> EnteredModel:
    """Read a user's model.

    Args:
        shapes: "NAME=SIZE" for an extent that has a name, "INPUT=1x3x224x224" for an input.
        constants: "NAME=VALUE" for an input that is the same in every call.
        window: "INPUT=AXIS:STEP" for the streaming form, see `streaming`.
        pairs: "IN=OUT" for an input that is an output of the call before: its states.
        find_states: whether such pairs are looked for, by their names, where none is given.

    Raises:
        ConfigError: a shape, constant or pair that names nothing of the model, or does not fit it.
        InputError, UnsupportedError, MismatchError: as `io.load_model` and `exported.to_onnx`.
    """
    notes: list[str] = []
    model = _model(path, notes)
    if shapes:
        sizes = _OpenSizes(model)
        for text in shapes:
            sizes.fix(text)
        notes.append(f"sizes fixed: {', '.join(shapes)}")
    for text in constants:
        fixed_inputs.fix(model, text)
    if constants:
        notes.append(f"inputs fixed: {', '.join(constants)}")
    if shapes or constants:
        model = folding.settle(model)
        notes += suppression.fix(model, str(path))
    if window and io.read_meta(model).states:
        raise ConfigError(
            f"--stream {window}: the model remembers already",
            hint="what EdgeKiln has written takes what is new, as it is",
        )
    notes += _remember(model, pairs, find_states)
    if window:
        model, found = streaming.stream(folding.settle(model), window)
        notes += found
    return EnteredModel(model=model, notes=tuple(notes))


def _model(path: Path, notes: list[str]) -> "onnx.ModelProto":
    if path.suffix == exported.SUFFIX:
        return exported.to_onnx(path, notes)
    return io.load_model(path, notes)


def _remember(model: "onnx.ModelProto", pairs: Sequence[str], find_states: bool) -> list[str]:
    """Write into the model what it remembers; says what was found, if it was not told."""
    meta = io.read_meta(model)
    if pairs:
        found = states.named(model, pairs)
    elif meta.states or not find_states:
        found = meta.states if find_states else ()
    else:
        found = states.find(model)
    if found == meta.states:
        return []
    io.write_meta(model, replace(meta, states=found))
    if not found:
        return ["it remembers nothing from one call to the next"]
    listed = ", ".join(f"{name}={next_name}" for name, next_name in found)
    how = "as told" if pairs else "by their names; --no-state takes them as inputs and outputs"
    return [f"states: {listed} ({how})"]


class _OpenSizes:
    """The open extents of a model's inputs."""

    def __init__(self, model: "onnx.ModelProto") -> None:
        self.model = model
        self.inputs = {value.name: value for value in extents.model_inputs(model)}

    def fix(self, text: str) -> None:
        name, _, size = text.rpartition("=")
        sizes = [whole_number(part, extents.MOST) for part in size.split("x")]
        parts = [each for each in sizes if each]
        if not name or len(parts) < len(sizes):
            raise ConfigError(
                f"--shape {text}: is no size",
                hint="write NAME=SIZE, or INPUT=1x3x224x224 for all axes of an input",
            )
        if max(parts) > max_elements():
            raise ConfigError(f"--shape {text}: larger than {max_elements()}")
        # An input and an extent may have one name: a single number is then the extent's.
        if name in self.inputs and (len(parts) > 1 or name not in self._open()):
            self._fix_input(name, parts, text)
        elif name in self._open() and len(parts) == 1:
            self._name_has_size(name, parts[0])
        else:
            raise ConfigError(f"--shape {text}: nothing is called {name!r}", hint=self._known())

    def _fix_input(self, name: str, sizes: list[int], text: str) -> None:
        dims = self.inputs[name].type.tensor_type.shape.dim
        fits = len(dims) == len(sizes) and all(
            # 0 is protobuf's default: an extent that is open, or that has a name only.
            not dim.dim_value or dim.dim_value == size
            for dim, size in zip(dims, sizes, strict=False)
        )
        if not fits:
            shape = ", ".join(map(str, extents.extents(self.inputs[name])))
            raise ConfigError(
                f"--shape {text}: input {name!r} has the shape ({shape})",
                hint="only extents that are open can be fixed",
            )
        for dim, size in zip(dims, sizes, strict=True):
            if dim.dim_param:
                # Before `dim_value` is set: the two are one field (a oneof), and the name would be
                # gone.
                self._name_has_size(dim.dim_param, size)
            dim.dim_value = size

    def _name_has_size(self, name: str, size: int) -> None:
        graph = self.model.graph
        for value in (*graph.input, *graph.output, *graph.value_info):
            for dim in value.type.tensor_type.shape.dim:
                if dim.dim_param == name:
                    dim.dim_value = size

    def _open(self) -> list[str]:
        found = [extent for value in self.inputs.values() for extent in extents.extents(value)]
        return list(dict.fromkeys(e for e in found if isinstance(e, str) and e != "?"))

    def _known(self) -> str:
        shapes = [
            f"{name} ({', '.join(map(str, extents.extents(value)))})"
            for name, value in self.inputs.items()
        ]
        return f"the model's inputs are: {', '.join(shapes)}"
