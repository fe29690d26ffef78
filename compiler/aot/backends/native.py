"""Programs that a processor runs: kernels are machine code, and a run calls them in order."""

from pathlib import Path

from edgekiln.compiler.aot import emit
from edgekiln.compiler.aot.backends.backend import LibrarySources
from edgekiln.compiler.aot.emit import PlacedProgram
from edgekiln.compiler.aot.functions import Functions
from edgekiln.targets.profile import TargetProfile


def write_program(
    home: Path,
    source: PlacedProgram,
    profile: TargetProfile,
    compiled: Functions,
) -> LibrarySources:
    """Write the kernels' objects and the calls of them; see `Backend.write_program`."""
    (home / "model.c").write_text(emit.code(source, profile.features), encoding="utf-8")
    for symbol, function in compiled.compiled.items():
        (home / f"{symbol}.kernel.o").write_bytes(function.object)
    objects = tuple(f"{symbol}.kernel.o" for symbol in compiled.compiled)
    return LibrarySources(sources=("model.c", *compiled.sources), objects=objects)
