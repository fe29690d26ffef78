"""What is said where quantization gives nothing of use."""

import math
from typing import TYPE_CHECKING

from edgekiln.compiler.quantization.sqnr import LOST_DB
from edgekiln.runtime.errors import AccuracyError, UnsupportedError

if TYPE_CHECKING:
    from edgekiln.compiler.quantization.qcheck import Structure


def nothing_to_quantize(structure: "Structure", exclude: tuple[str, ...]) -> UnsupportedError:
    """No operation has an integer form, or all were excluded."""
    reasons = dict.fromkeys(f"{op.op} {op.reason}" for op in structure.floats)
    fewer = "exclude fewer operations, or " if exclude else ""
    return UnsupportedError(
        f"no operation of the model can be quantized: {'; '.join(list(reasons)[:5])}",
        hint=f"{fewer}build a float program: --precision float32",
    )


def signal_lost(sqnr_db: float, least: float) -> AccuracyError:
    """SQNR is too low for the result to be of use."""
    if sqnr_db <= LOST_DB:
        message = "the model's output is NaN, or nothing but zeros, on the validation samples"
        return AccuracyError(
            f"quantize: {message}", hint="check the weights, and the data's scale, mean and std"
        )
    return AccuracyError(
        f"quantize: an SQNR of {sqnr_db:.1f} dB is below the {least:g} dB that are accepted",
        hint="let it do what it takes: --min-sqnr 25; or try --calibration percentile or mse, "
        "--exclude the operations that lose most, or take it as it is: "
        f"--accept-sqnr {math.floor(sqnr_db)}",
    )
