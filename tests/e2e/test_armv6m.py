"""Programs for Armv6-M, which QEMU's board, a Cortex-M3, would execute with more than that, too."""

import re
import subprocess
from pathlib import Path

from edgekiln.compiler.aot.backends import microcontroller
from edgekiln.compiler.estimate.tools import llvm_tool
from edgekiln.runtime import bundle
from edgekiln.runtime.device.qemu import board_command
from edgekiln.targets import profile
from tests import emulated
from tests.compiler.estimate.tools import require_llvm
from tests.e2e.compiled_models import residual_net
from tests.e2e.test_cortex_m import Lib


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
