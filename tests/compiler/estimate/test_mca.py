"""What LLVM's models of pipelines know, and what they only seem to."""

import pytest

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


CORTEX_M4, CORTEX_M33, CORTEX_M7 = (
    Pipeline(triple="thumbv7em-none-eabihf", cpu=f"cortex-{name}", jump="b #16")
    for name in ("m4", "m33", "m7")
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ldr r0, [r1]", 1), ("ldrd r0, r1, [r8]", 2), ("strd r0, r1, [sp, #8]", 2),
        ("push {r4, r5, r6, lr}", 4), ("ldm r0, {r1, r2, r3}", 3), ("vpush {d8, d9}", 4),
        ("vldmia r0, {s0, s1}", 2), ("smlad r0, r1, r2, r0", 1),
    ],
)  # fmt: skip
def test_a_microcontroller_moves_a_word_a_cycle(text: str, words: int) -> None:
    require_llvm()
    for pipeline in (CORTEX_M4, CORTEX_M33):
        assert round(cycles([(text,)], pipeline).of[text,]) == words


def test_a_cortex_m7_moves_two_words_at_once() -> None:
    require_llvm()
    pair = ("ldrd r0, r1, [r8]",)
    assert cycles([pair], CORTEX_M7).of[pair] <= 1.1
