"""Every function of one float, as a straight list of steps."""

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, eq=False)
class FunctionStep:
    """`op`, the name of an elementwise ONNX operator, on constants (float) and values (int): value
    0 is the function's argument, value i the result of the i-th step.

    The value 1 is not the constant 1.0, though Python has them for equal.
    """

    SIGNED_AS: ClassVar[str] = "Step"

    op: str
    operands: tuple[int | float, ...]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FunctionStep) and repr(self) == repr(other)

    def __hash__(self) -> int:
        return hash(repr(self))

    def __str__(self) -> str:
        operands = (f"v{each}" if isinstance(each, int) else f"{each:g}" for each in self.operands)
        return f"{self.op}({', '.join(operands)})"


# Its result is that of the last step; without steps, its argument.
Function = tuple[FunctionStep, ...]
