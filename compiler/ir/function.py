"""Every function of one float, as a straight list of steps."""

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class FunctionStep:
    """`op`, the name of an elementwise ONNX operator, on constants (float) and values (int): value
    0 is the function's argument, value i the result of the i-th step.
    """

    SIGNED_AS: ClassVar[str] = "Step"

    op: str
    operands: tuple[int | float, ...]

    def __str__(self) -> str:
        operands = (f"v{each}" if isinstance(each, int) else f"{each:g}" for each in self.operands)
        return f"{self.op}({', '.join(operands)})"


# Its result is that of the last step; without steps, its argument.
Function = tuple[FunctionStep, ...]
