"""What sections of a program cost: counted instructions × modelled cycles."""

from collections.abc import Mapping
from dataclasses import dataclass

from edgekiln.compiler.estimate import in_order, mca
from edgekiln.compiler.estimate.basic_blocks import ExecutionCounts, Instruction, basic_blocks
from edgekiln.compiler.estimate.mca import Pipeline
from edgekiln.compiler.estimate.qemu import ASSEMBLERS
from edgekiln.compiler.estimate.steps import MACHINE, TRIPLE
from edgekiln.runtime.errors import UnsupportedError
from edgekiln.targets.profile import TargetProfile

METHOD = "estimated (llvm-mca)"
NATIVE = "native"  # LLVM's name for the model of this machine's CPU


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one section costs: exact instructions, estimated cycles."""

    instructions: int
    cycles: float
    unknown: int  # instructions that the model lacks, each of them taken as one cycle


def method(pipeline: Pipeline) -> str:
    """What cycles are found by, in words."""
    return in_order.METHOD if _by_manual(pipeline) else METHOD


def costs(executed: ExecutionCounts, pipeline: Pipeline) -> tuple[dict[int, Cost], str]:
    """The cost of every section, and the name of the model. Raises as `mca.cycles`."""
    if _by_manual(pipeline):
        return {
            section: _manual_cost(pipeline.cpu, executions, executed.code)
            for section, executions in executed.sections.items()
        }, pipeline.cpu
    sections = {
        section: basic_blocks(executions, executed.code)
        for section, executions in executed.sections.items()
    }
    cycles = mca.cycles({block for blocks in sections.values() for block in blocks}, pipeline)
    return {
        section: Cost(
            instructions=sum(len(block) * times for block, times in blocks.items()),
            cycles=sum(cycles.of[block] * times for block, times in blocks.items()),
            unknown=sum(cycles.unknown[block] * times for block, times in blocks.items()),
        )
        for section, blocks in sections.items()
    }, cycles.cpu


def _by_manual(pipeline: Pipeline) -> bool:
    return pipeline.cpu in in_order.CORES and pipeline.triple == ASSEMBLERS[in_order.MACHINE][0]


def _manual_cost(core: str, executions: Mapping[int, int], code: Mapping[int, Instruction]) -> Cost:
    return Cost(
        instructions=sum(executions.values()),
        cycles=in_order.cycles(core, executions, code),
        unknown=sum(times for at, times in executions.items() if not code[at].text),
    )


def pipeline(target: TargetProfile, model: str = "") -> Pipeline:
    """The model that stands for a target: `model`, or the profile's. Raises UnsupportedError."""
    cpu = model or target.scheduling_model
    if not cpu:
        raise UnsupportedError(
            f"{target.name}: its profile names no model of its pipeline",
            "add scheduling-model to the profile, or name one by --model",
        )
    if target.machine == MACHINE:
        return Pipeline(triple=TRIPLE, cpu=cpu, jump="jmp 16")
    triple, features = ASSEMBLERS[target.machine]
    return Pipeline(triple=triple, cpu=cpu, features=features, jump="b #16")


def peak_macs_per_cycle(target: TargetProfile) -> float:
    """Products of bytes that the target's dot instruction adds in a cycle, at best."""
    from edgekiln.targets import isa

    mk = isa.load(target.isa).products
    return mk.dots_per_cycle * mk.register * mk.k_step
