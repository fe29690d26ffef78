"""From counted instructions to basic blocks."""

import pytest

from edgekiln.compiler.estimate.basic_blocks import Instruction, basic_blocks


def code(*texts: str) -> dict[int, Instruction]:
    return {4 * index: Instruction(text, 4) for index, text in enumerate(texts)}


def test_a_loop_is_a_block_of_its_own() -> None:
    listing = code("mov w0, #3", "subs w0, w0, #1", "b.ne #-4", "str w0, [x1]", "ret")
    executions = {0: 1, 4: 3, 8: 3, 12: 1, 16: 1}
    assert basic_blocks(executions, listing) == {
        ("mov w0, #3",): 1,
        ("subs w0, w0, #1", "b.ne #-4"): 3,
        ("str w0, [x1]", "ret"): 1,
    }


@pytest.mark.parametrize(
    "branch",
    [
        "b.ne #-8",
        "cbz x0, #8",
        "bl #64",
        "bxeq lr",
        "le lr, #-82",
        "pop.w {r4, pc}",
        "jne 0x40",
        "ret",
    ],
)
def test_a_block_ends_at_a_branch(branch: str) -> None:
    listing = code("add", branch, "add", "mul")
    executions = dict.fromkeys(listing, 2)
    assert basic_blocks(executions, listing) == {("add", branch): 2, ("add", "mul"): 2}


@pytest.mark.parametrize(
    "plain", ["bic v0.4s, #1", "bfi w0, w1, #1, #2", "bsl v0.16b", "bit v0", "pop {r4}"]
)
def test_what_only_looks_like_a_branch_ends_nothing(plain: str) -> None:
    listing = code("add", plain, "mul")
    assert basic_blocks(dict.fromkeys(listing, 1), listing) == {("add", plain, "mul"): 1}


def test_code_that_never_ran_separates_blocks() -> None:
    listing = code("add", "sub", "mul")
    assert basic_blocks({0: 1, 8: 1}, listing) == {("add",): 1, ("mul",): 1}


def test_equal_blocks_are_counted_together() -> None:
    listing = code("add", "ret", "add", "ret")
    assert basic_blocks({0: 1, 4: 1, 8: 5, 12: 5}, listing) == {("add", "ret"): 6}
