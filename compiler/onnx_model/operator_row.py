"""What the operator table says about one ONNX operator."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

# quantized:     `quantize` puts DequantizeLinear before and QuantizeLinear behind it.
# pass-through:  likewise, and the result keeps the scale and zero point of what it reads.
# enclosed:      has an integer form where its neighbours are quantized; nothing is put around it.
# float:         computes on real numbers always.
# integer:       works on integers as it stands in the file.
# folded:        computed while the model is read; it stays only where its operands depend on data.
# defined:       ONNX's definition of it, in other operators, takes its place when a file is loaded.
# refused:       no program can be made of it.
Role = Literal[
    "quantized", "pass-through", "enclosed", "float", "integer", "folded", "defined", "refused"
]

MAX_SOFTMAX_ROW = 1024  # values, in integers; a row's powers wait on a small device's stack
MAX_LAYER_NORM_ROW = 1 << 17  # the squares of longer rows may not fit their int32 sum
# Of codes: of the numbers that larger ones stand for, products leave the range of float32, and with
# it what ONNX Runtime says of the model.
LARGEST_SCALE = 2.0**48
WINDOW = ("auto_pad", "dilations", "kernel_shape", "pads", "strides")  # attributes of windows
FALLBACK = "fallback"  # the float form of what TVM's importer and Relax lower


@dataclass(frozen=True, kw_only=True)
class WeightOperand:
    """How the constant operand of a product is quantized: int8, one scale an output channel.

    Operand 1 holds the weights; operand 2, where there is one, a bias, int32 at the scale of the
    sums.
    """

    axis: int  # of the output channels
    transposed_by: str = ""  # the attribute that makes it axis 0
    bias: bool = True


@dataclass(frozen=True, kw_only=True)
class Operator:
    """A row of the table: one of ONNX's operators.

    `integer` and `float_form` name the rule that makes a kernel call of it, in
    `compiler/passes/rules`; "lookup" is a table of 256 entries, "function" a chain of vector
    instructions, FALLBACK is Relax, "" is nothing.
    """

    name: str
    role: Role
    domain: str = ""
    data: Literal["first", "all"] = "first"  # the operands that carry activations
    weights: WeightOperand | None = None
    integer: str = ""
    float_form: str = ""
    lookup: bool = False  # of one value and numbers: what it does to 256 codes is a table
    attributes: tuple[str, ...] = ()  # those that a rule reads, of any version of the operator
    # Operands that no rule reads: absent, or a constant that is zero.
    unread_operands: tuple[int, ...] = ()
    # Of a defined one: attributes that have a form at their defaults alone.
    defaults_only: tuple[str, ...] = ()
    first_result: bool = False  # no rule makes another one
    # The integer form asks for these: axes of the first operand, operands that are constant, and
    # the values of attributes (a value of None is the schema's default).
    ranks: tuple[int, ...] = ()
    constants: tuple[int, ...] = ()
    # An attribute is a number, a string or a list of them.
    values: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    rewritten: str = ""  # what `quantize` puts in its place before it begins
    limits: str = ""  # for people
    heavy: bool = False  # where the time goes: worth a word wherever it stays float
    tail: bool = False  # may stand in float between the last product and an output
    homogeneous: bool = False  # f(s·x) = s·f(x) for every positive factor a channel
