"""Programs for Armv6-M, which QEMU's board, a Cortex-M3, would execute with more than that, too."""

import re
import subprocess
from dataclasses import replace
from pathlib import Path

from edgekiln.compiler.aot.backends import microcontroller
from edgekiln.compiler.estimate.tools import llvm_tool
from edgekiln.runtime import bundle
from edgekiln.runtime.device.qemu import board_command
from edgekiln.targets import profile
from edgekiln.targets.profile import EmulatedBoard
from tests import emulated
from tests.compiler.estimate.tools import require_llvm
from tests.e2e.compiled_models import residual_net
from tests.e2e.test_arm_qemu import reference
from tests.e2e.test_cortex_m import CALLER, Lib


def test_no_instruction_is_outside_of_armv6_m(tmp_path: Path) -> None:
    require_llvm()
    lib = Lib(residual_net(tmp_path / "net.onnx"), profile.load("cortex-m0plus"))
    text = subprocess.check_output(
        ["arm-none-eabi-objdump", "-d", "libmodel.a"], cwd=lib.home, text=True
    )
    # Constants between functions are no instructions, and objdump says so.
    found = re.findall(r"^ +[0-9a-f]+:\t((?:[0-9a-f]{4} ?)+)\s*\t(?!\.)", text, re.MULTILINE)
    assert len(found) > 1000
    codes = [[int(half, 16).to_bytes(2, "little") for half in each.split()] for each in found]
    source = "".join(f"[{' '.join(map(hex, b''.join(each)))}]\n" for each in codes)
    command = [llvm_tool("llvm-mc"), "--disassemble", "-triple=thumbv6m", "-mcpu=cortex-m0plus"]
    done = subprocess.run(command, input=source, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout.count("\n\t") == len(found)
    attributes = subprocess.check_output(
        ["arm-none-eabi-readelf", "-A", bundle.IMAGE], cwd=lib.home, text=True
    )
    assert "Tag_CPU_arch: v6S-M" in attributes


def test_the_board_that_stands_for_armv6_m_traps_words_that_are_not_aligned(tmp_path: Path) -> None:
    target = profile.load("cortex-m0plus")
    emulated.require(target)
    assert target.board is not None
    microcontroller.write_sources(tmp_path)
    exits = []
    for offset in (0, 1):
        source = "volatile unsigned words[2];\nint main(void) { return *(volatile unsigned *)"
        (tmp_path / "words.c").write_text(source + f"((volatile char *)words + {offset}); }}\n")
        flags = (*microcontroller.link_flags(target), "-o", "words.elf")
        command = [target.toolchain.cc, "words.c", microcontroller.STARTUP, *flags]
        subprocess.run(command, cwd=tmp_path, check=True)
        run = board_command(target.board.machine, str(tmp_path / "words.elf"), [])
        exits.append(subprocess.run(run, check=False).returncode)
    assert exits[0] == 0
    assert exits[1] != 0


# What comes before main where there is little room: no arguments.
START = """
#include <stdlib.h>
extern char stack_top[];
int main(void);
void initialise_monitor_handles(void);
void reset(void) { initialise_monitor_handles(); exit(main()); }
static void fault(void) { abort(); }
__attribute__((section(".vectors"), used)) static void *const vectors[16] = {
    stack_top, reset, fault, fault,
};
"""


def test_a_cortex_m0_computes_the_bits_of_x86(tmp_path: Path) -> None:
    """The micro:bit's core has no more than Armv6-M, and little memory."""
    model = residual_net(tmp_path / "net.onnx")
    lib = Lib(model, profile.load("cortex-m0plus"))
    board = EmulatedBoard(
        machine="microbit", code_origin=0x100, code_bytes=0x3_FF00, ram_origin=0x2000_0000,
        ram_bytes=0x4000,
    )  # fmt: skip
    microcontroller.write_sources(lib.home)
    (lib.home / "caller.c").write_text(CALLER)
    (lib.home / "start.c").write_text(START)
    flags = microcontroller.link_flags(replace(lib.target, board=board))
    sources = ("caller.c", "start.c", "libmodel.a")
    command = [lib.target.toolchain.cc, *sources, *flags, "-lm", "-o", "caller.elf"]
    subprocess.run(command, cwd=lib.home, check=True)
    inputs, outputs = reference(model, 1)
    assert lib.run(board_command(board.machine, "caller.elf", []), inputs[0]) == outputs[0]
