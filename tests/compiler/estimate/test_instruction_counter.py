"""Every instruction is counted, whoever counts."""

from pathlib import Path

import pytest

from edgekiln.compiler.estimate import instruction_counter
from edgekiln.compiler.estimate.basic_blocks import basic_blocks
from tests.compiler.estimate.tools import require

LOOP = {
    "x86_64": "1: dec %%eax; jne 1b",
    "aarch64": "1: subs %w0, %w0, #1; b.ne 1b",
    "armv7l": "1: subs %0, %0, #1; bne 1b",
    "armv6-m": "1: sub %0, %0, #1; bne 1b",
    "armv7e-m": "1: subs %0, %0, #1; bne 1b",
    "armv8-m": "1: subs %0, %0, #1; bne 1b",
    "armv8.1-m": "mov lr, %0; 1: nop; le lr, 1b",
}
MAIN = """
#include "mark.h"
{mode} static void loop(int rounds) {{
    __asm__ volatile(".balign 16; {body}" : "+{register}"(rounds) : : "cc", {clobbered});
}}
int main(void) {{
    loop(77);
    mark(0);
    loop(100);
    mark(1);
    loop(10);
    mark(MARK_END);
    loop(88);
    return 0;
}}
"""


@pytest.mark.parametrize(
    "name", ["x86-64-v3", "rpi5", "rpi2-armv7", "cortex-m0plus", "cortex-m4", "cortex-m55"]
)
def test_a_loop_is_counted_exactly_in_its_section(name: str, tmp_path: Path) -> None:
    target = require(name)
    register = "a" if target.machine == "x86_64" else "r"
    body = LOOP[target.machine]
    # Our kernels are Arm code; C compilers make Thumb code.
    mode = '__attribute__((noinline, target("arm")))' if target.machine == "armv7l" else ""
    clobbered = '"lr"' if target.machine == "armv8.1-m" else '"memory"'
    main = MAIN.format(body=body, register=register, mode=mode, clobbered=clobbered)
    (tmp_path / "loops.c").write_text(main)
    executed = instruction_counter.run(target, tmp_path, "loops.c", [])
    assert set(executed.sections) == {0, 1}
    rounds = {}
    for section, executions in executed.sections.items():
        blocks = basic_blocks(executions, executed.code)
        looped = {block: times for block, times in blocks.items() if times > 2}
        assert [len(block) for block in looped] == [2]
        (rounds[section],) = looped.values()
    # Compilers copy loops, and the first round may belong to what comes before it.
    assert rounds[0] in (99, 100)
    assert rounds[1] in (9, 10)


TILES = """
#include "mark.h"
/* Palette 1; tile 0 has 16 rows of 64 bytes. */
static const unsigned char config[64] = {[0] = 1, [16] = 64, [48] = 16};
int main(void) {
    mark(0);
    __asm__ volatile("ldtilecfg %0; tilezero %%tmm0; tilerelease" : : "m"(config));
    mark(MARK_END);
    return 0;
}
"""


def test_tiles_which_linux_gives_on_request_are_counted(tmp_path: Path) -> None:
    target = require("x86-amx")
    (tmp_path / "tiles.c").write_text(TILES)
    executed = instruction_counter.run(target, tmp_path, "tiles.c", [])
    texts = [executed.code[at].text for at in executed.sections[0]]
    assert sum("tile" in text for text in texts) == 3
