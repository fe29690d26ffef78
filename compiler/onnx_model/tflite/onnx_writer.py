"""Writes an ONNX graph tensor by tensor, in TFLite's layout and in ONNX's.

TFLite's images are (N, H, W, C), ONNX's (N, C, H, W). Each tensor of four axes may be there in both
forms: whoever needs one that is missing gets a Transpose. So a row of convolutions has none.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.onnx_model.node_writer import node_of
from edgekiln.compiler.onnx_model.tflite.functions import DOMAIN
from edgekiln.compiler.onnx_model.tflite.model import TfliteGraph, TfliteOperator, TfliteTensor
from edgekiln.runtime.errors import UnsupportedError

if TYPE_CHECKING:
    import onnx

TO_IMAGE, TO_ROWS = (0, 3, 1, 2), (0, 2, 3, 1)
# Of axes in TFLite's order, their places in ONNX's.
IMAGE_AXES = (0, 2, 3, 1)
CODES = ("int8", "uint8")
NOTHING: Mapping[str, object] = MappingProxyType({})


@dataclass(kw_only=True)
class OnnxWriter:
    """The graph so far."""

    model: TfliteGraph
    where: str  # the file, with which messages begin
    nodes: "list[onnx.NodeProto]" = field(default_factory=list)
    weights: dict[str, NDArray[np.generic]] = field(default_factory=dict)
    rows: dict[int, str] = field(default_factory=dict)  # names, in TFLite's layout
    images: dict[int, str] = field(default_factory=dict)  # in ONNX's
    taken: set[str] = field(default_factory=set)
    known: dict[int, NDArray[np.generic]] = field(default_factory=dict)  # constants
    notes: list[str] = field(default_factory=list)
    # What variables begin with, by the names in the file: zeros, where there is none.
    first_values: Mapping[str, TfliteTensor] = field(default_factory=dict)
    # Variables by the tensors that stand for them; and the tensors of their values.
    variables: dict[int, str] = field(default_factory=dict)
    shared_names: dict[str, str] = field(default_factory=dict)  # by the variables
    last_values: dict[str, int] = field(default_factory=dict)
    next_values: dict[str, int] = field(default_factory=dict)

    def tensor(self, number: int) -> TfliteTensor:
        return self.model.tensors[number]

    def refused(self, op: TfliteOperator, why: str, hint: str = "") -> UnsupportedError:
        """The error that names an operator."""
        name = self.tensor(op.outputs[0]).name if op.outputs else ""
        return UnsupportedError(
            f"{self.where}: operator {op.name} ({name!r}) is not supported: {why}",
            hint=hint or "docs/howto/tflite.md lists what is supported; take this part out",
        )

    # Constants.

    def constant(self, number: int) -> NDArray[np.generic] | None:
        """A tensor's values, if they are known."""
        if number < 0:
            return None
        return self.known.get(number, self.tensor(number).data)

    def constants(self, op: TfliteOperator, place: int) -> tuple[int, ...] | None:
        """The integers of an operand, if they are known."""
        number = op.inputs[place] if place < len(op.inputs) else -1
        found = self.constant(number)
        if found is None or found.dtype.kind not in "iu" or found.size > 64:
            return None
        return tuple(int(each) for each in found.reshape(-1).tolist())

    def weight(self, value: NDArray[np.generic], stem: str) -> str:
        """The name of a new constant."""
        name = self.free(stem)
        self.weights[name] = value
        return name

    def free(self, stem: str) -> str:
        """A name that is not taken yet; it is now."""
        name, count = stem, 1
        while name in self.taken:
            name, count = f"{stem}.{count}", count + 1
        self.taken.add(name)
        return name

    # Nodes.

    def op(
        self, op: str, operands: Sequence[str], result: str,
        given: Mapping[str, object] = NOTHING, domain: str = "",
    ) -> str:  # fmt: skip
        """Append a node; returns the name of its result."""
        name = self.free(result)
        node = node_of(op, operands, name, given)
        node.domain = domain
        self.nodes.append(node)
        return name

    def function(
        self, op: str, operands: Sequence[str], result: str, given: Mapping[str, object] = NOTHING
    ) -> str:  # fmt: skip
        """Append a node of TFLite's own arithmetic."""
        return self.op(op, operands, result, given, DOMAIN)

    def real(self, name: str, tensor: TfliteTensor) -> str:
        """The real numbers that codes stand for; floats as they are."""
        if not tensor.quantized or tensor.dtype not in CODES:
            return name
        return self.op("DequantizeLinear", (name, *self._parameters(tensor)), f"{name}.real")

    def codes(self, real: str, tensor: TfliteTensor, result: str) -> str:
        """The codes of real numbers, half to even: of values that were codes before."""
        return self.op("QuantizeLinear", (real, *self._parameters(tensor)), result)

    def _parameters(self, tensor: TfliteTensor) -> tuple[str, str]:
        return (
            self.weight(np.array(tensor.scale, np.float32), f"{tensor.name}.scale"),
            self.weight(np.array(tensor.zero, tensor.dtype), f"{tensor.name}.zero"),
        )

    def moved(
        self, op: str, names: Sequence[str], like: TfliteTensor, result: str,
        further: Sequence[str] = (), given: Mapping[str, object] = NOTHING,
    ) -> str:  # fmt: skip
        """An operator that moves or compares values, of `like`'s quantization all of them."""
        if like.dtype not in CODES or not like.quantized:
            return self.op(op, (*names, *further), result, given)
        reals = [self.real(name, like) for name in names]
        made = self.op(op, (*reals, *further), f"{result}.real", given)
        return self.codes(made, like, result)

    # Tensors in both layouts.

    def is_image(self, number: int) -> bool:
        """Whether a tensor lies as ONNX's images, and not as TFLite's."""
        return number in self.images and number not in self.rows

    def in_rows(self, number: int) -> str:
        """The name of a tensor in TFLite's layout."""
        if number not in self.rows:
            tensor = self.tensor(number)
            if number in self.images:
                name = self._reordered(self.images[number], tensor, TO_ROWS, f"{tensor.name}.rows")
            else:
                name = self._constant(number, tensor, tensor.name)
            self.rows[number] = name
        return self.rows[number]

    def in_image(self, number: int) -> str:
        """The name of a tensor of four axes in ONNX's layout."""
        if number not in self.images:
            tensor = self.tensor(number)
            if number not in self.rows and self.constant(number) is not None:
                name = self._constant(number, tensor, f"{tensor.name}.image", TO_IMAGE)
            else:
                name = self._reordered(
                    self.in_rows(number), tensor, TO_IMAGE, f"{tensor.name}.image"
                )
            self.images[number] = name
        return self.images[number]

    def at(self, number: int, *, image: bool) -> str:
        """The name of a tensor in one of the layouts."""
        return self.in_image(number) if image else self.in_rows(number)

    def _reordered(
        self, name: str, tensor: TfliteTensor, perm: Sequence[int], result: str
    ) -> str:  # fmt: skip
        return self.moved("Transpose", (name,), tensor, result, given={"perm": list(perm)})

    def _constant(
        self, number: int, tensor: TfliteTensor, stem: str, perm: Sequence[int] = ()
    ) -> str:  # fmt: skip
        found = self.constant(number)
        if found is None:
            raise UnsupportedError(
                f"{self.where}: nothing computes tensor {tensor.name!r}",
                hint="convert the model again",
            )
        return self.weight(found.transpose(perm) if perm else found, stem)

    def result(self, number: int, *, image: bool) -> str:
        """The name that the maker of a tensor gives to it."""
        tensor = self.tensor(number)
        # What a caller sees is in TFLite's layout, of the file's type, and has its name there.
        if number not in self.model.outputs or not (image or tensor.unsigned):
            return tensor.name
        return f"{tensor.name}.{'image' if image else 'codes'}"

    def given(self, number: int) -> None:
        """Take an input of the model as a tensor."""
        tensor = self.tensor(number)
        name = tensor.name
        if tensor.unsigned:
            real = self.op("DequantizeLinear", (name, *self._file_numbers(tensor)), f"{name}.real")
            name = self.codes(real, tensor, f"{name}.codes")
        self.made(number, name)

    def unsigned(self, codes: str, tensor: TfliteTensor) -> str:
        """Codes of a result in the type that the file has, under its name."""
        real = self.real(codes, tensor)
        return self.op("QuantizeLinear", (real, *self._file_numbers(tensor)), tensor.name)

    def _file_numbers(self, tensor: TfliteTensor) -> tuple[str, str]:
        return (
            self.weight(np.array(tensor.scale, np.float32), f"{tensor.name}.scale"),
            self.weight(np.array(tensor.zero + 128, np.uint8), f"{tensor.name}.zero"),
        )

    def made(self, number: int, name: str, *, image: bool = False) -> None:
        """Keep what a tensor is called now."""
        (self.images if image else self.rows)[number] = name

    def are_made(self, numbers: Sequence[int]) -> bool:
        """Whether there are values for all of these tensors."""
        return all(n in self.rows or n in self.images or n in self.known for n in numbers)

    def renamed(self, name: str, to: str, outputs: Sequence[str]) -> str:
        """Give a tensor that nodes make another name, unless it is an output of the model's own."""
        if outputs.count(name) > 1 or to in self.taken:
            return self.op("Identity", (name,), to)
        self.taken.add(to)
        for node in self.nodes:
            for names in (node.input, node.output):
                for place, each in enumerate(names):
                    names[place] = to if each == name else each
        return to

    def used(self) -> Iterator[tuple[str, NDArray[np.generic]]]:
        """The constants that some node reads."""
        read = {name for node in self.nodes for name in node.input}
        return ((name, value) for name, value in self.weights.items() if name in read)
