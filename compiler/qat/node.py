"""One operator of a QDQ model, as its trained form sees it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.compiler.onnx_model import operators
from edgekiln.compiler.qat.reference import function_of, function_of_parts
from edgekiln.runtime.errors import UnsupportedError

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray
    from torch import Tensor

    from edgekiln.compiler.onnx_model.operators import Attributes
    from edgekiln.compiler.onnx_model.parts import Parts
    from edgekiln.compiler.qat.numbers import LearnedBias, WeightCodes
    from edgekiln.compiler.qat.reference import Function
    from edgekiln.compiler.qat.values import Pending, QuantizedValue

    Value = QuantizedValue | Pending | Tensor
    # What an operator is given at one place; None: nothing, or one of the node's own constants.
    Operand = Value | WeightCodes | LearnedBias | None
    # A form computes what an operator makes of its operands.
    Form = Callable[["QatNode", Sequence[Operand]], Sequence[Value]]


@dataclass(frozen=True, kw_only=True, eq=False)
class JoinedParts:
    """A function of one value in several nodes, and their numbers."""

    parts: "Parts"
    constants: "Mapping[str, NDArray[np.generic]]"


@dataclass(frozen=True, kw_only=True, eq=False)
class QatNode:
    """Args:
    constants: by the place of the operand.
    leading: the operand of a sum whose product with its factor is not rounded, see
        `elementwise.add`.
    whole: whether values have the model's own shapes, and not any number of samples in front.
    joined: of a function of one value in several nodes, of which `proto` is the last.
    """

    proto: "onnx.NodeProto"
    opset: int
    constants: "Mapping[int, NDArray[np.generic]]" = field(default_factory=dict)
    leading: int = 0
    whole: bool = False
    joined: "JoinedParts | None" = None

    @property
    def reads(self) -> Sequence[str]:
        """The names of its operands; an absent one has none."""
        return [self.joined.parts.x] if self.joined else self.proto.input

    @cached_property
    def attributes(self) -> "Attributes":
        """What the file says of it, by name."""
        return operators.attributes(self.proto)

    @cached_property
    def function(self) -> "Function":
        """What it makes of its one operand that is no constant, by ONNX's reference."""
        if self.joined:
            nodes, x = self.joined.parts.nodes, self.joined.parts.x
            return function_of_parts(nodes, x, self.joined.constants, self.opset)
        return function_of(self.proto, self.constants, self.opset)

    @cached_property
    def move(self) -> "Function":
        """The same as `function`, but that a Pad fills with 0."""
        kept = dict(self.constants)
        if self.proto.op_type == "Pad" and 2 in kept:
            kept[2] = np.zeros_like(kept[2])
        return function_of(self.proto, kept, self.opset)

    def integers(self, name: str, default: Sequence[int]) -> list[int]:
        """An attribute of several numbers."""
        return [int(each) for each in self.attributes.get(name, default)]

    def values(self, place: int) -> list[int] | None:
        """The whole numbers of a constant operand; None: it is left out."""
        array = self.constants.get(place)
        return None if array is None else [int(each) for each in array.reshape(-1)]

    def number(self, name: str, place: int, default: float) -> float:
        """A number that is an attribute in older operator sets, and a constant operand in newer."""
        array = self.constants.get(place)
        found = self.attributes.get(name, default) if array is None else array.reshape(-1)[0]
        return float(found)

    def refused(self, why: str) -> UnsupportedError:
        """The error that says why there is no training with this operator."""
        return UnsupportedError(
            f"operator {self.proto.op_type} ({self.proto.name!r}) has no form for "
            f"quantization-aware training: {why}",
            hint="quantize without --qat-epochs",
        )
