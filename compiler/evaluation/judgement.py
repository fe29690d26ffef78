"""Which differences are rounding, and whose the others are."""

from dataclasses import dataclass

# A tie moves a code by one step; behind a fused addition by as many as that step spans.
MAX_STEPS = 4
# Ties are rare: more than this share of differing codes in a layer is a wrong kernel.
MAX_TIE_SHARE = 0.02
# Float results differ in their last bits, because sums are taken in another order: by about √k·2⁻²⁴
# of the result for k terms, 108 dB for the 4,608 of a 3×3 convolution over 512 channels. 80 dB, a
# relative error of 1e-4 in a layer, leaves room for sums that nearly cancel; a wrong kernel is far
# below it.
MIN_FLOAT_SQNR_DB = 80.0


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """A layer's two results, each held against exact arithmetic."""

    name: str
    op: str
    elements: int
    # Values that are neither the exact ones nor ties; of float layers, not their float64.
    program_off: int
    onnxruntime_off: int
    max_steps: float | None  # of the program; quantized tensors: in codes
    sqnr_db: float | None  # of the program; None: no difference
    onnxruntime_sqnr_db: float | None
    # Codes of 16 bits, of what is computed in float: a step is as little as the sums differ by.
    as_floats: bool = False

    @property
    def ok(self) -> bool:
        """Whether the program computes the layer, whatever ONNX Runtime does."""
        if self.max_steps is not None and not self.as_floats:
            return not self.program_off
        return close(None, self.program_off, self.elements, self.sqnr_db)

    @property
    def onnxruntime_is_off(self) -> bool:
        """Whether the difference between the two is ONNX Runtime's."""
        if self.max_steps is not None:
            return self.ok and self.onnxruntime_off > self.program_off
        ours, theirs = (
            float("inf") if each is None else each
            for each in (self.sqnr_db, self.onnxruntime_sqnr_db)
        )
        return self.ok and theirs < ours

    @property
    def verdict(self) -> str:
        """What is said of the layer where ONNX Runtime is off."""
        where = f"ONNX Runtime is off in {self.name} ({self.op}), exact arithmetic says: "
        if self.max_steps is None:
            theirs, ours = _db(self.onnxruntime_sqnr_db), _db(self.sqnr_db)
            return f"{where}its SQNR is {theirs}, the program's {ours}"
        return (
            f"{where}{self.onnxruntime_off} of its {self.elements} values are others, "
            f"{self.program_off} of the program's"
        )


def _db(value: float | None) -> str:
    return "infinite" if value is None else f"{value:.1f} dB"


def close(max_steps: float | None, differing: int, elements: int, sqnr_db: float | None) -> bool:
    """Whether two computations of a tensor are one, but for ties, or a float's last bits."""
    if max_steps is None:
        return sqnr_db is None or sqnr_db >= MIN_FLOAT_SQNR_DB
    return max_steps <= MAX_STEPS and differing <= MAX_TIE_SHARE * elements
