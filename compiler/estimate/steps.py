"""Count the instructions of an x86-64 program on this CPU: it stops after every one of them.

QEMU 7.2 knows no AVX-512; the CPU that has it does. A step takes about a microsecond.
"""

import os
import re
import subprocess
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from edgekiln.compiler.estimate import tools
from edgekiln.compiler.estimate.basic_blocks import ExecutionCounts, Instruction
from edgekiln.runtime.errors import MeasurementError

MACHINE = "x86_64"
TRIPLE = "x86_64-linux-gnu"

_LINE = re.compile(r" *([0-9a-f]+):\s+(\S.*)")
_SYMBOL = re.compile(r"\s*<[^>]*>|\s*#.*")  # comments on addresses


def count(command: Sequence[str], home: Path) -> ExecutionCounts:
    """Run `command`, an executable in `home`, and count what its marks enclose.

    Raises:
        MissingToolError: LLVM is not installed.
        MeasurementError: the program failed.
    """
    counts = home / "counts.txt"
    environment = os.environ | {"EDGEKILN_COUNTS": str(counts)}
    done = subprocess.run(command, cwd=home, env=environment, capture_output=True, check=False)
    if done.returncode != 0:
        raise MeasurementError(
            f"the counted program ended with {done.returncode}",
            hint="is another debugger or sandbox in the way of single steps?",
        )
    sections: dict[int, dict[int, int]] = defaultdict(dict)
    for line in counts.read_text().splitlines():
        section, at, times = line.split()
        sections[int(section)][int(at, 16)] = int(times)
    code = _disassemble(home / command[0])
    known = {
        section: {at: times for at, times in executions.items() if at in code}
        for section, executions in sections.items()
    }
    return ExecutionCounts(known, code)


def _disassemble(executable: Path) -> dict[int, Instruction]:
    listing = subprocess.run(
        [tools.llvm_tool("llvm-objdump"), "-d", "--no-show-raw-insn", str(executable)],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    found = [
        (int(match[1], 16), _SYMBOL.sub("", match[2]).replace("\t", " "))
        for line in listing.splitlines()
        if (match := _LINE.fullmatch(line))
    ]
    # An instruction ends where the next one begins.
    ends = [following for (_, _), (following, _) in pairwise(found)]
    return {at: Instruction(text, end - at) for (at, text), end in zip(found, ends, strict=False)}
