"""What one instruction set offers a kernel."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from edgekiln.targets.isa.codes import Clip, Divisor, Floats
from edgekiln.targets.isa.costs import ZEN4_FILTERING, ZEN4_LOOP, FilteringCosts, LoopCosts
from edgekiln.targets.isa.expressions import (
    Buffer,
    Expr,
    cast,
    inverse,
    llvm,
    maximum,
    minimum,
    reinterpret,
    shuffle,
    splat,
    vector,
    words_of,
)
from edgekiln.targets.isa.halfwords import HalfwordUnit, RequantizeUnit, Widening
from edgekiln.targets.isa.matrix import MatrixUnit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class MicroKernel(ABC):
    """The few instructions every kernel is written against. The methods build TIR expressions.

    A vector has int32 lanes, and each lane of a dot product consumes `k_step` pairs of bytes. A
    matrix product (convolution, dense) holds its sums in accumulators: a vector of output channels
    for each of `rows` neighbouring pixels. The fields from `registers` on describe the machine to
    the choice of a register tile.
    """

    interleaves: ClassVar[bool] = True  # an instruction does so with two registers' elements
    fuses: ClassVar[bool] = True  # `fma` is what approximations should use, too
    name: str
    tuned_as: str = ""  # the micro-kernel whose measured tiles are this one's, too
    activation: str  # numpy name of the activations' type: what `dot` multiplies
    lanes: tuple[int, ...]  # int32 lanes of the vectors there are, widest first
    byte_lanes: tuple[int, ...] = (64, 32, 16, 8, 4)  # where bytes are only moved or looked up
    k_step: int = 4  # pairs of bytes that a lane of a dot product takes
    x_bytes: int = 4  # of a pixel that a matrix product loads at once, a multiple of `k_step`
    rows: int = 1  # pixels whose sums share an accumulator
    parts: int = 1  # sums of which `finish` makes one, which share an accumulator, too
    offset: int = 0  # by how much codes are too small where `dot` takes them
    joins: int = 1  # scalar sums of neighbouring channels that leave a matrix product as a vector
    registers: int  # vector registers
    register_lanes: int = 0  # int32 lanes of a register; 0: every vector is one
    weight_registers: int = 1  # live registers per weight vector during `dot`
    pixel_registers: int = 0  # live registers per pixel, besides its sums
    scratch_registers: int = 1  # what `dot` needs besides accumulators and weights
    depthwise_registers: int = 2  # of a vector: wider ones leave too few registers for columns
    # Output rows of a depthwise convolution at once, where they share image rows. 1: its tiles keep
    # the sums of neighbouring columns in registers; more: it keeps image columns and weights there.
    depthwise_rows: int = 1
    dot_latency: int = 5  # cycles until an accumulator can be used again
    dots_per_cycle: float = 1.0  # registers' worth
    operand_dots: float = 0.0  # what `operand` takes for a pixel, in dot products of a register
    pick_dots: float = 0.0  # what `picked` takes for a pixel, likewise
    weight_dots: float = 0.0  # what widening a register of weights takes, likewise
    in_order: bool = False  # loads do not hide behind dot products
    epilogue_cycles: float = 6.0  # per register: convert, scale, clamp, round, narrow, store
    loop_costs: LoopCosts = ZEN4_LOOP
    filtering_costs: FilteringCosts = ZEN4_FILTERING
    matrix: MatrixUnit | None = None  # beside the vectors, where the chip has one
    halfwords: HalfwordUnit | None = None  # where they are what the chip multiplies
    widening: Widening | None = None  # for `widened`
    requantizes: RequantizeUnit | None = None  # where integers do it with less work

    @property
    def accumulator(self) -> str:
        """The sums' type, by its numpy name."""
        return "int32"

    @property
    def sums(self) -> int:
        """How many sums of a channel are in an accumulator."""
        return self.rows * self.parts

    @abstractmethod
    def dot(self, acc: Expr, a: Expr, w: Expr, lanes: int) -> Expr:
        """Return acc + Σ a·w over `k_step` pairs, exact modulo 2³².

        Args:
            acc: an accumulator; int32 × lanes when `rows` is 1.
            a: what `operand` makes; `activation` × 4·lanes, k_step a lane, when `rows` is 1.
            w: int8 × k_step·lanes, in the order of `arrange`.
        """

    @abstractmethod
    def round_to_int(self, x: Expr, lanes: int) -> Expr:
        """Round float32 to int32, half to even. `x` is finite and far inside int32's range."""

    def fma(self, a: Expr, b: Expr, c: Expr, lanes: int) -> Expr:
        """Return a·b + c in float32, rounded once.

        Kernels say it explicitly: left to itself the compiler may fuse or not, and the bits differ.
        """
        return llvm("llvm.fma", vector("float32", lanes), a, b, c)

    def quotient(self, x: Expr, divisor: Divisor, lanes: int) -> Expr:
        """Return x / divisor in float32, to be quantized: below 2³¹; NaN stays so or becomes small.

        It is computed by the reciprocal, so it may be rounded to the other one of its neighbours.
        """
        return self.product(self.clamp(x, -divisor.most, divisor.most, lanes), divisor, lanes)

    def product(self, x: Expr, divisor: Divisor, lanes: int) -> Expr:
        """Return a finite x times the reciprocal."""
        return self.fma(x, splat(divisor.reciprocal, lanes), x * splat(divisor.rest, lanes), lanes)

    def widen(self, x: Expr, lanes: int) -> Expr:
        """Convert activations to the type of sums."""
        return cast(x, "int32", lanes)

    def floats(self, x: Expr, lanes: int) -> Floats:
        """Convert activations to float32."""
        return Floats(cast(self.widen(x, lanes), "float32", lanes))

    def narrow(self, x: Expr, lanes: int) -> Expr:
        """Convert int32 to activations; every lane is inside their range."""
        return cast(x, self.activation, lanes)

    def clamp(self, value: Expr, low: Expr, high: Expr, lanes: int) -> Expr:
        """Return the float32 `value` inside [low, high] (scalars); `low` where it is NaN."""
        return minimum(maximum(value, splat(low, lanes)), splat(high, lanes))

    def steps(self, value: Expr, low: Expr, high: Expr, lanes: int) -> Expr:
        """Round a finite float32 to int32 inside [low, high] (float32 scalars, whole numbers), half
        to even.
        """
        return self.round_to_int(self.clamp(value, low, high, lanes), lanes)

    def quantize(
        self, value: Expr, clip: Clip, lanes: int, order: Sequence[int] | None = None
    ) -> Expr:
        """Make activations of float32 steps: round half to even, add the zero point, clip.

        Args:
            order: where in the result each lane goes; None: they stay.
        """
        # Clipped first, what is rounded is small.
        value = self.clamp(value, clip.low_steps, clip.high_steps, lanes)
        whole = self.round_to_int(value, lanes) + splat(clip.zero, lanes)
        codes = self.narrow(whole, lanes)
        return codes if order is None else shuffle([codes], inverse(order))

    def operand(self, pixels: Sequence[Expr], step: int, lanes: int) -> Expr:
        """Return the second factor of `dot`: k_step bytes of `rows` pixels, for every lane.

        Args:
            pixels: `activation` × x_bytes of each.
            step: which k_step bytes of them.
        """
        del step  # x_bytes are k_step bytes
        word = reinterpret(pixels[0], "int32")
        return reinterpret(splat(word, lanes), self.activation, 4 * lanes)

    def start(self, sums: Expr, lanes: int) -> Expr:
        """Return the accumulator whose every pixel has the int32 × lanes `sums`."""
        del lanes
        return sums

    def finish(self, acc: Expr, lanes: int) -> list[Expr]:
        """Return the int32 × lanes of each pixel of an accumulator."""
        del lanes
        return [acc]

    def interleave(self, rows: Sequence[Expr], lanes: int) -> Expr:
        """Interleave up to `k_step` rows of `activation` × lanes as `dot` takes them: a code of
        each row, lane by lane.

        Codes of missing rows are 0. The lanes come in the order of `interleaved`.
        """
        # Shifts and ORs serve any chip; most have something better.
        return reinterpret(words_of(rows, lanes), self.activation, 4 * lanes)

    def interleaved(self, lanes: int) -> Sequence[int] | None:
        """Which of a row's elements each lane of `interleave` has; None: its own."""
        del lanes
        return None

    def arrange(self, weights: "NDArray[np.generic]") -> "NDArray[np.generic]":
        """(…, lanes, k_step) bytes of a vector's weights in the order in which `dot` takes them."""
        return weights

    def pack_table(self, table: "NDArray[np.generic]") -> "NDArray[np.uint8]":
        """Return 256 codes, the lowest code's first, as the bytes that `lookup` reads."""
        # `lookup` takes the bits of a code for an unsigned index: -128…-1 follow 127.
        entries: NDArray[np.uint8] = table.view("uint8").reshape(2, 128)
        return (entries[::-1] if self.activation == "int8" else entries).reshape(-1)

    def lookup(self, table: Buffer, codes: Expr, lanes: int) -> Expr:
        """Return the entry of each of `activation` × lanes codes.

        Args:
            table: a buffer with the bytes of `pack_table`.
        """
        places = cast(reinterpret(codes, "uint8", lanes), "int32", lanes)
        return reinterpret(table[places], self.activation, lanes)

    def powers(self, base: float) -> list[float]:
        """Return base⁰ to base²⁵⁵, as `power` reads them."""
        return [base**exponent for exponent in range(256)]

    def power(self, table: Buffer, exponent: Expr, lanes: int) -> Expr:
        """Return the base of `powers` to an int32 exponent in 0..255: float32 × lanes.

        Args:
            table: a float32 buffer with what `powers` returned.
        """
        del lanes
        return table[exponent]

    @property
    def group(self) -> int:
        """How many threads of a GPU run together; 0: it is a processor."""
        return 0

    @property
    def sums_as_floats(self) -> bool:
        """Whether `kernels.epilogue.sums` pays: a multiply-add for a conversion and a product."""
        return False

    @property
    def single(self) -> "MicroKernel":
        """The same instruction set with one row an accumulator: for lone pixels."""
        return self

    @property
    def products(self) -> "MicroKernel":
        """The form in which matrix products are computed: its vectors and steps may be others."""
        return self

    @property
    def filtering(self) -> "MicroKernel | None":
        """What multiplies in Winograd's filtering: the same vectors with operands that hold sums
        of codes, or floats. None: that would not pay.
        """
        return None

    @property
    def paired(self) -> "MicroKernel | None":
        """What adds two products of bytes in 16 bits: exact where no two weights are too large, and
        then faster. None: that would not pay.
        """
        return None

    @property
    def widened(self) -> "MicroKernel | None":
        """What multiplies activations that `widening` has widened by weights of 16 bits, if any."""
        return None

    def picked(self, window: Expr, places: Expr, lanes: int) -> Expr:
        """Return a factor of `dot` on what `paired` is: four of a pixel's bytes, for every lane.

        Args:
            window: `activation` × 16 of a pixel.
            places: int32, the bytes of which are the places of the four.
        """
        raise NotImplementedError

    @property
    def depthwise(self) -> "MicroKernel":
        """The same instruction set where `interleave` makes the operands of `dot`."""
        return self.single

    @property
    def paired_depthwise(self) -> "MicroKernel | None":
        """What `depthwise` is to `paired`. None: that would not pay."""
        return None

    @property
    def register(self) -> int:
        """How many int32 lanes a register has."""
        return self.register_lanes or self.lanes[0]

    def width(self, lanes: int) -> int:
        """How many registers a vector takes."""
        return math.ceil(lanes / self.register)

    def epilogue_cost(self, lanes: int) -> float:
        """`epilogue_cycles` of a register in a vector of `lanes`."""
        del lanes
        return self.epilogue_cycles

    def fits(self, pixels: int, registers: int) -> bool:
        """Whether a tile of pixels × registers of channels stays in registers."""
        # Sums, weights, pixels, and whatever `dot` itself needs.
        live = registers * (pixels * self.parts + self.weight_registers) + self.scratch_registers
        return live + pixels * self.pixel_registers <= self.registers
