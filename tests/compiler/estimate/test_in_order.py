"""Cycles by a core's manual."""

import pytest

from edgekiln.compiler.estimate import in_order
from edgekiln.compiler.estimate.basic_blocks import Instruction

CORE = "cortex-m0plus"


@pytest.mark.parametrize(
    ("text", "cycles"),
    [
        ("adds r0, r1, r2", 1), ("muls r0, r5, r0", 1), ("mov r8, r0", 1), ("bics r0, r1", 1),
        ("ldr r0, [r1]", 2), ("ldrsb r0, [r1, r0]", 2), ("strh r0, [r1, #2]", 2),
        ("ldm r1, {r0, r1}", 3), ("stm r1!, {r0, r1, r2}", 4), ("push {r4, lr}", 3),
        ("pop {r4, r5}", 3), ("pop {r4, pc}", 5), ("b #-4", 2), ("bl #-4", 3), ("bx lr", 2),
        ("blx r0", 2), ("mov pc, r0", 2), ("dsb sy", 3), ("bne #10", 1), ("", 1),
    ],
)  # fmt: skip
def test_an_instruction_takes_what_the_manual_says(text: str, cycles: int) -> None:
    assert (
        in_order.cycles(CORE, {0: 1, 2: 1}, {0: Instruction(text, 2), 2: Instruction("nop", 2)})
        == cycles + 1
    )


def test_a_branch_that_is_taken_takes_one_more() -> None:
    code = {
        0: Instruction("subs r0, r0, #1", 2),
        2: Instruction("bne #-6", 2),
        4: Instruction("bx lr", 2),
    }
    # Ten rounds, nine of them back to the first instruction.
    assert in_order.cycles(CORE, {0: 10, 2: 10, 4: 1}, code) == 10 + 10 + 9 + 2
