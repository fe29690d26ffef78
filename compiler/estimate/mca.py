"""Cycles of basic blocks by `llvm-mca`, LLVM's models of processors' pipelines."""

import json
import re
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from edgekiln.compiler.estimate import tools
from edgekiln.compiler.estimate.basic_blocks import Block
from edgekiln.runtime.errors import ConfigError

# Enough rounds for the first one's start not to count: many of short blocks, few of long ones.
_LONG = 64  # instructions
_ROUNDS = {False: 100, True: 12}

# llvm-mca gives every call 100 cycles, for it does not know what is called; we have counted that.
_CALL = re.compile(r"(blx?|blr|br|ret\w*|call\w*)\b.*")
# AMX: the models have placeholders of 100 cycles, which say nothing.
_PLACEHOLDER = re.compile(r"(tdp|tile|ldtilecfg|sttilecfg)")
# LLVM's model of the Cortex-M4, which is the M33's, too, gives an instruction that moves several
# registers one cycle. The M4 moves a word a cycle (Arm DDI 0439, table 3-1); the M33, of which Arm
# says no cycles, has a bus as wide.
_WORD_A_CYCLE = {"cortex-m4", "cortex-m33"}
_TWO = re.compile(r"(ldrd|strd)\b")
_SEVERAL = re.compile(r"v?(?:ldm|stm|push|pop)\S*\s[^{]*\{(.*)\}")


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """The processor whose pipeline is modelled, as arguments of `llvm-mca`."""

    triple: str
    cpu: str  # e.g. "neoverse-n1", or "native"
    features: str = ""
    jump: str  # an instruction that stands for a call or a return


@dataclass(frozen=True, kw_only=True)
class Cycles:
    """The cycles that a model says each block takes."""

    cpu: str  # the model's name: "native" has become one
    of: Mapping[Block, float]
    unknown: Mapping[Block, int]  # instructions the model lacks; each is counted as one cycle


def cycles(blocks: Iterable[Block], pipeline: Pipeline) -> Cycles:
    """The cycles of one execution of each block, in a steady state.

    Raises:
        MissingToolError: llvm-mca is not installed.
        ConfigError: LLVM has no model of this processor.
    """
    every = sorted(set(blocks))
    of: dict[Block, float] = {}
    unknown: dict[Block, int] = {}
    name = pipeline.cpu
    for long in (False, True):
        chosen = [block for block in every if (len(block) > _LONG) == long]
        if not chosen:
            continue
        analysis = _run(chosen, pipeline, _ROUNDS[long])
        name = analysis["TargetInfo"]["CPUName"]
        regions = {region["Name"]: region["SummaryView"] for region in analysis["CodeRegions"]}
        for index, block in enumerate(chosen):
            summary = regions.get(f"b{index}", {"Instructions": 0, "TotalCycles": 0})
            known = summary["Instructions"] // _ROUNDS[long]
            unknown[block] = len(block) - known
            of[block] = summary["TotalCycles"] / _ROUNDS[long] + unknown[block]
            if pipeline.cpu in _WORD_A_CYCLE:
                of[block] += sum(_words(text) - 1 for text in block)
    return Cycles(cpu=name, of=of, unknown=unknown)


def _words(text: str) -> int:
    """How many words an instruction moves that moves several; 1 of all others."""
    if _TWO.match(text):
        return 2
    several = _SEVERAL.match(text)
    registers = several[1].split(",") if several else ["one"]
    return len(registers) * (2 if registers[0].strip().startswith("d") else 1)


# Llvm-mca's own form.
def _run(blocks: list[Block], pipeline: Pipeline, rounds: int) -> Mapping[str, Any]:
    lines = []
    for index, block in enumerate(blocks):
        lines += [f"# LLVM-MCA-BEGIN b{index}"]
        known = (text for text in block if text and not _PLACEHOLDER.match(text))
        lines += [_CALL.sub(pipeline.jump, text) for text in known]
        lines += [f"# LLVM-MCA-END b{index}"]
    command = [
        tools.llvm_tool("llvm-mca"), f"-mtriple={pipeline.triple}", f"-mcpu={pipeline.cpu}",
        f"-mattr={pipeline.features}", f"-iterations={rounds}", "-json", "-resource-pressure=0",
        "-instruction-info=0", "-skip-unsupported-instructions=any",
    ]  # fmt: skip
    done = subprocess.run(
        command, input="\n".join(lines) + "\n", capture_output=True, text=True, check=False
    )
    if "unable to find" in done.stderr or "not a recognized" in done.stderr:
        raise ConfigError(
            f"LLVM has no pipeline model of {pipeline.cpu!r} for {pipeline.triple}",
            f"`{command[0]} {command[1]} -mcpu=help` lists the processors it knows",
        )
    analysis: Mapping[str, Any] = json.loads(done.stdout)  # as above
    return analysis
