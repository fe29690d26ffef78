"""A compiled model in memory where every access outside of its tensors is seen.

Twice: the program as it ships, its inputs, outputs and arena between forbidden pages; and one with
the same machine code in which every buffer of the arena, every scratch memory and every constant
lies between forbidden pages, too.
"""

import ctypes
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from edgekiln.benchmarks.sanitizer import caught, spread
from edgekiln.benchmarks.sanitizer.block import (
    EDGES,
    FILLINGS,
    Edge,
    GuardedBlock,
    MemoryFaultError,
)
from edgekiln.benchmarks.sanitizer.spread import Span
from edgekiln.compiler.aot.build import build_library
from edgekiln.compiler.build.resolve import kind_of
from edgekiln.compiler.ir.program import Program
from edgekiln.compiler.pipeline.artifact import Artifact
from edgekiln.compiler.pipeline.object_cache import ObjectCache
from edgekiln.compiler.pipeline.stage import StageContext
from edgekiln.compiler.pipeline.store import Store
from edgekiln.compiler.stages.compile import CompileStage
from edgekiln.runtime.bundle import LIBRARY, read_program
from edgekiln.runtime.library import Library, byte_count
from edgekiln.runtime.manifest import ProgramSpec
from edgekiln.runtime.runner import AotRunner
from edgekiln.targets import profile

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgekiln.targets.profile import TargetProfile

    Arrays = Sequence[NDArray[np.generic]]

_APART_FILLINGS = ("nan", "aa")  # of the program that lies apart: one an edge


def check_here(lib: Path, model: Path, arrays: "Arrays") -> "list[NDArray[np.generic]]":
    """Do what `check` does with what `edgekiln compile` made here; with the store it used."""
    return check(lib, model, profile.load("host"), arrays, Store().compiled)


def check(
    lib: Path, model: Path, target: "TargetProfile", arrays: "Arrays", objects: Path | None = None
) -> "list[NDArray[np.generic]]":
    """The outputs of a program, after it was found to keep to its memory.

    Args:
        lib: what `CompileStage()` made of `model` for `target`, which is this machine.
        arrays: the program's inputs.
        objects: where machine code is kept that need not be made again.

    Raises:
        MemoryFaultError: it touches what is not its own, or its outputs depend on what is there.
    """
    spec, files = read_program(lib)
    outputs = AotRunner.open(lib).run(*arrays)
    check_library(spec, files[LIBRARY], arrays, outputs)
    with tempfile.TemporaryDirectory(prefix="edgekiln-sanitizer-") as home:
        context = StageContext(target=target, scratch=Path(home), objects=objects)
        program, _ = CompileStage().lower(Artifact.of_file(model, kind_of(model)), context)
    check_apart(program, target, arrays, outputs, objects)
    return outputs


def check_library(spec: ProgramSpec, library: bytes, arrays: "Arrays", expected: "Arrays") -> None:
    """Run a program as it ships, with every filling of its memory.

    Raises:
        MemoryFaultError: as `check`; or its outputs are not `expected`.
    """
    loaded = Library(library, spec.name)
    for edge in EDGES:
        for filling in FILLINGS:
            # Its arena is one block here: what leaves a buffer for its neighbour is seen by
            # `check_apart`.
            found = _run(loaded, spec, (), arrays, edge, filling)
            _compare(found, expected, f"as it ships, {edge} {filling}")


def check_apart(
    program: Program,
    target: "TargetProfile",
    arrays: "Arrays",
    expected: "Arrays",
    objects: Path | None = None,
) -> None:
    """Run a program with each of its buffers and constants in pages of their own.

    Raises:
        MemoryFaultError: as `check`; or its outputs are not `expected`.
    """
    program, constants = spread.constants_as_inputs(program)
    for edge, filling in zip(EDGES, _APART_FILLINGS, strict=True):
        placed: list[Span] = []
        plan = partial(spread.placed, edge=edge, into=placed)
        spec, library = build_library(program, target, ObjectCache(root=objects), plan)
        loaded = Library(library, program.name)
        # Constants are inputs here, which lie in pages of their own.
        found = _run(loaded, spec, placed, [*arrays, *constants], edge, filling)
        _compare(found, expected, f"its buffers apart, {edge} {filling}")


def _run(
    library: Library,
    spec: ProgramSpec,
    spans: Sequence[Span],
    arrays: "Arrays",
    edge: Edge,
    filling: str,
) -> "list[NDArray[np.uint8]]":
    """The bytes of the outputs. `spans`: of the arena, where buffers lie apart."""
    pattern = FILLINGS[filling]
    block = partial(GuardedBlock, edge=edge, filling=pattern)
    inputs = []
    for tensor, array in zip(spec.inputs, arrays, strict=True):
        inputs.append(block(f"input {tensor.name!r}", array.nbytes))
        inputs[-1].put(array)
        inputs[-1].only_read()
    outputs = [block(f"output {tensor.name!r}", byte_count(tensor)) for tensor in spec.outputs]
    arena = spread.Arena(spec.arena_bytes, spans, edge=edge, filling=pattern)
    blocks = [*inputs, *outputs, arena]
    # model_run takes tables of pointers: of inputs, of outputs; then the arena.
    tables = [
        (ctypes.c_void_p * len(each))(*(one.address for one in each)) for each in (inputs, outputs)
    ]
    words = [*(ctypes.addressof(table) for table in tables), arena.address]
    status = caught.call(library.address, words, blocks)
    assert status == 0, f"model_run returned {status}"
    for each in blocks:
        each.check()
    return [output.bytes.copy() for output in outputs]


def _compare(found: "Arrays", expected: "Arrays", which: str) -> None:
    for index, (ours, theirs) in enumerate(zip(found, expected, strict=True)):
        if ours.tobytes() != theirs.tobytes():
            raise MemoryFaultError(f"output {index} depends on what is in memory ({which})")
