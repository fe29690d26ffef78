"""What LLVM's models of pipelines know, and what they only seem to."""

from edgekiln.compiler.estimate.mca import Pipeline, cycles
from tests.compiler.estimate.tools import require_llvm

SAPPHIRE_RAPIDS = Pipeline(
    triple="x86_64-linux-gnu", cpu="sapphirerapids", features="+amx-int8,+amx-tile", jump="nop"
)


def test_a_placeholder_for_tiles_is_not_taken_for_cycles() -> None:
    require_llvm()
    tiles = ("tdpbusd %tmm2, %tmm1, %tmm0", "addl %eax, %ebx")
    found = cycles([tiles], SAPPHIRE_RAPIDS)
    assert found.unknown[tiles] == 1
    assert found.of[tiles] < 3
