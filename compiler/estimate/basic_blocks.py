"""How often each instruction ran, and the basic blocks that follow from it."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Instruction:
    """`text` in LLVM's assembly; "" where LLVM cannot read it."""

    text: str
    bytes: int


@dataclass(frozen=True)
class ExecutionCounts:
    """How often each instruction of a run was executed, in sections (a layer, a kernel …)."""

    sections: Mapping[int, Mapping[int, int]]  # section → address → executions
    code: Mapping[int, Instruction]  # by address


Block = tuple[str, ...]  # the texts of instructions that run one after the other

_CONDITION = "(eq|ne|cs|hs|cc|lo|mi|pl|vs|vc|hi|ls|ge|lt|gt|le|al)"
_BRANCH = re.compile(
    rf"(b\.\w+|cbn?z|tbn?z|blr|br|ret\w*"  # AArch64
    rf"|bl?x?{_CONDITION}?(\.w)?"  # both Arms
    r"|le(tp)?|wls(tp\.\d+)?|tb[bh]|pop(\.w)?.*\bpc"  # Thumb
    r"|j\w+|call\w*)\b"  # x86
)


def basic_blocks(executions: Mapping[int, int], code: Mapping[int, Instruction]) -> Counter[Block]:
    """How often each block ran. Neighbours that ran equally often are one, up to a branch."""
    found: Counter[Block] = Counter()
    for addresses in _runs(executions, code):
        found[tuple(code[at].text for at in addresses)] += executions[addresses[0]]
    return found


def _runs(executions: Mapping[int, int], code: Mapping[int, Instruction]) -> Iterator[list[int]]:
    run: list[int] = []
    for at in sorted(executions):
        if run:
            last = run[-1]
            follows = at == last + code[last].bytes and executions[at] == executions[last]
            if not follows or _BRANCH.match(code[last].text):
                yield run
                run = []
        run.append(at)
    if run:
        yield run
