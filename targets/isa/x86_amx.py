"""x86 with AMX: TDPBUSD multiplies 16 rows of 64 u8 by 64 × 16 s8 and adds them to 16 × 16 int32.

There are eight tile registers of 16 rows of 64 bytes. What makes no matrices (depthwise filters,
elementwise operations, layers too small for a tile) goes to AVX-512 with VNNI and VBMI, which every
such chip has. Linux gives a process the tiles when it asks for them, see
`edgekiln.runtime.amx_permission`.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgekiln.targets.isa.expressions import Buffer, Expr, Index, const
from edgekiln.targets.isa.matrix import MatrixUnit
from edgekiln.targets.isa.x86_vnni import AVX512_VBMI

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_CONFIGURATION_BYTES = 64
# Where the configuration has the registers' bytes of a row, two bytes each, and their rows.
_ROW_BYTES_AT, _ROWS_AT = 16, 48


@dataclass(frozen=True, kw_only=True)
class AmxUnit(MatrixUnit):
    """The tile registers and their instructions."""

    def configuration(self, shapes: "list[tuple[int, int]]") -> "NDArray[np.uint8]":
        """Palette 1 of Intel's Software Developer's Manual, volume 1, table 18-1."""
        import numpy as np

        assert len(shapes) <= self.registers, shapes
        memory = np.zeros(_CONFIGURATION_BYTES, np.uint8)
        memory[0] = 1  # the palette
        for register, (rows, row_bytes) in enumerate(shapes):
            assert rows <= self.rows, shapes
            assert row_bytes <= self.row_bytes, shapes
            memory[_ROW_BYTES_AT + 2 * register] = row_bytes
            memory[_ROWS_AT + register] = rows
        return memory

    def configure(self, configuration: Buffer) -> None:
        _emit("ldtilecfg", _address(configuration, 0))

    def release(self) -> None:
        _emit("tilerelease")

    def zero(self, register: int) -> None:
        _emit("tilezero", _number(register))

    def load(self, register: int, buffer: Buffer, at: Index, stride: int) -> None:
        _emit("tileloadd64", _number(register), _address(buffer, at), const(stride, "int64"))

    def dot(self, acc: int, left: int, right: int) -> None:
        _emit("tdpbusd", _number(acc), _number(left), _number(right))

    def store(self, register: int, buffer: Buffer, at: Index, stride: int) -> None:
        _emit("tilestored64", _number(register), _address(buffer, at), const(stride, "int64"))


def _emit(instruction: str, *args: Expr) -> None:
    """Emit a statement: an intrinsic that reads or writes memory or registers of its own."""
    from tvm.script.ir_builder import tirx as T

    name = T.llvm_lookup_intrinsic_id(f"llvm.x86.{instruction}")
    T.evaluate(T.call_llvm_intrin("void", name, *args))


def _number(register: int) -> Expr:
    """A register, as the intrinsics name it."""
    return const(register, "int8")


def _address(buffer: Buffer, at: Index) -> Expr:
    """A pointer to an element."""
    from tvm.script.ir_builder import tirx as T

    address: Expr = T.address_of(buffer[at])
    return address


# Cycles of Sapphire Rapids by the Intel 64 and IA-32 Architectures Optimization Reference Manual,
# chapter on Intel AMX, "Instruction Throughput and Latency". The second cache gives a line a cycle
# at best.
X86_AMX = replace(
    AVX512_VBMI,
    name="x86_amx",
    tuned_as="",
    dots_per_cycle=2.0,  # ports 0 and 5
    matrix=AmxUnit(
        registers=8,
        rows=16,
        columns=16,
        row_bytes=64,
        dot_cycles=16.0,
        dot_latency=52.0,
        load_cycles=8.0,
        stream_cycles=16.0,
        store_cycles=16.0,
        tile_cycles=40.0,  # an estimate, in no manual: addresses, loop control, the first loads
    ),
)
