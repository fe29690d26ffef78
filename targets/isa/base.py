"""What one instruction set offers a kernel."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

Expr = Any  # tvm.ir.Expr; TVM ships no types


def vector(dtype: str, lanes: int) -> str:
    """TVM's name of a vector type; one lane is a scalar."""
    return dtype if lanes == 1 else f"{dtype}x{lanes}"


def splat(value: Expr, lanes: int) -> Expr:
    """`value` in every lane."""
    from tvm.script.ir_builder import tirx as T

    return value if lanes == 1 else T.broadcast(value, lanes)


def llvm(name: str, dtype: str, *args: Expr) -> Expr:
    """Call an LLVM intrinsic that reads and writes no memory."""
    from tvm.script.ir_builder import tirx as T

    return T.call_llvm_pure_intrin(dtype, T.llvm_lookup_intrinsic_id(name), *args)


@dataclass(frozen=True, kw_only=True)
class MicroKernel(ABC):
    """The few instructions every kernel is written against; the methods build TIR expressions.

    A vector has int32 lanes, and each lane of a dot product consumes `k_step` pairs of bytes. The
    fields from `registers` on describe the machine to the choice of a register tile.
    """

    k_step: ClassVar[int] = 4

    name: str
    activation: str  # numpy name of the activations' type: what `dot` multiplies
    lanes: tuple[int, ...]  # int32 lanes of the vectors there are, widest first
    registers: int  # vector registers
    weight_registers: int = 1  # live registers per weight vector during `dot`
    scratch_registers: int = 1  # what `dot` needs besides accumulators and weights
    dot_latency: int = 5  # cycles until an accumulator can be used again
    dots_per_cycle: float = 1.0

    @abstractmethod
    def dot(self, acc: Expr, a: Expr, w: Expr, lanes: int) -> Expr:
        """acc + Σ₄ a·w, exact modulo 2³².

        Args:
            acc: int32 × lanes.
            a: `activation` × 4·lanes; lane i uses bytes 4i to 4i+3.
            w: int8 × 4·lanes, in the same order.
        """

    @abstractmethod
    def round_to_int(self, x: Expr, lanes: int) -> Expr:
        """float32 → int32, half to even. `x` is finite and far inside int32's range."""

    def fma(self, a: Expr, b: Expr, c: Expr, lanes: int) -> Expr:
        """a·b + c in float32, rounded once.

        Kernels say it explicitly: left to itself the compiler may fuse or not, and the bits differ.
        """
        return llvm("llvm.fma", vector("float32", lanes), a, b, c)

    def widen(self, x: Expr, lanes: int) -> Expr:
        """Bytes → int32."""
        from tvm.script.ir_builder import tirx as T

        return T.Cast(vector("int32", lanes), x)

    def narrow(self, x: Expr, lanes: int) -> Expr:
        """int32 → `activation`; every lane is inside its range."""
        from tvm.script.ir_builder import tirx as T

        return T.Cast(vector(self.activation, lanes), x)

    def fits(self, pixels: int, vectors: int) -> bool:
        """Whether a register tile of pixels × vectors stays in registers."""
        live = pixels * vectors + vectors * self.weight_registers + self.scratch_registers
        return live <= self.registers
