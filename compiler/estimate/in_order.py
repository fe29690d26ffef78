"""Cycles of cores that LLVM has no model of: they do one instruction after the other, each in as
many cycles as the core's manual says.
"""

import re
from collections.abc import Callable, Mapping

from edgekiln.compiler.estimate.basic_blocks import Instruction

METHOD = "estimated (Arm DDI 0484C)"

_LIST = re.compile(r"\{(.*)\}")
_MEMORY = re.compile(r"(ldr|str)s?[bh]?\b")
_SEVERAL = re.compile(r"(ldm|stm|push|pop)\w*\b")
_CONDITIONAL = re.compile(r"b(eq|ne|[hc]s|lo|cc|mi|pl|v[sc]|hi|ls|g[et]|l[te])\b")
_TO_PC = re.compile(r"(b|bx|blx|(mov|add) pc,)(?=\s|$)")
_SYSTEM = re.compile(r"(mrs|msr|d[sm]b|isb)\b")


def _cortex_m0plus(text: str) -> int:
    """Arm, Cortex-M0+ Technical Reference Manual (DDI 0484C), table 3.1: memories do not wait, MULS
    takes one cycle. A conditional branch has the cycle of one that is not taken.
    """
    if _MEMORY.match(text):
        return 2
    if several := _SEVERAL.match(text):
        registers = _LIST.search(text)
        count = len(registers[1].split(",")) if registers else 1
        returns = several[1] == "pop" and "pc" in text
        return count + (3 if returns else 1)
    if re.match(r"bl\s", text) or _SYSTEM.match(text):
        return 3
    return 2 if _TO_PC.match(text) else 1


MACHINE = "armv6-m"  # of all these cores
# LLVM's name of a core → the cycles of an instruction in LLVM's assembly
CORES: Mapping[str, Callable[[str], int]] = {"cortex-m0plus": _cortex_m0plus}


def cycles(core: str, executions: Mapping[int, int], code: Mapping[int, Instruction]) -> int:
    """The cycles of all executions.

    A conditional branch that is taken has one more. How often it is not, the instruction behind it
    tells: that one ran as often, if nothing else leads there, and then this is a lower bound.
    """
    of_text, total = CORES[core], 0
    for at, times in executions.items():
        text, size = code[at].text, code[at].bytes
        total += times * of_text(text)
        if _CONDITIONAL.match(text):
            total += max(0, times - executions.get(at + size, 0))
    return total
