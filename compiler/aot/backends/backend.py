"""What a kind of device decides: where inputs and outputs lie, and which files a program is."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from edgekiln.compiler.aot.codegen import Compiled
from edgekiln.compiler.aot.emit import PlacedProgram
from edgekiln.compiler.aot.functions import Functions
from edgekiln.compiler.aot.toolchain import Compiler
from edgekiln.compiler.ir.program import Program
from edgekiln.runtime import manifest
from edgekiln.runtime.bundle import PROGRAM
from edgekiln.runtime.manifest import ProgramSpec
from edgekiln.targets.profile import TargetProfile

if TYPE_CHECKING:
    from tvm.tirx import PrimFunc

ARCHIVE, HEADER = "libmodel.a", "model.h"
GOVERNOR_HEADER = "governor.h"  # of a program with several operating points
OBJECT = "model.o"  # what the archive holds: constants and every kernel, nothing else visible


@dataclass(frozen=True, kw_only=True)
class LibrarySources:
    """What a library is made of, besides its weights: files in the compiler's directory."""

    sources: tuple[str, ...]  # C and assembler
    objects: tuple[str, ...] = ()  # compiled already


class Backend(Protocol):
    """A module of this package, which `edgekiln.compiler.aot.backends.table` lists by its kind."""

    EDGES_IN_ARENA: (
        bool  # it has places for inputs and outputs, which else need memory of their own
    )
    FILES: tuple[str, ...]  # of a lib artifact, in their order there
    EXPORTS: tuple[str, ...]  # what its libraries offer besides what all do

    def compile_function(
        self, func: "PrimFunc", symbol: str, tvm_target: Mapping[str, object]
    ) -> Compiled:
        """Compile one kernel for the device."""

    def write_program(
        self, home: Path, source: PlacedProgram, profile: TargetProfile, compiled: Functions
    ) -> LibrarySources:
        """Write the code that runs the kernels in order, with them, to `home`."""

    def finish(
        self, compiler: Compiler, program: Program, profile: TargetProfile, spec: ProgramSpec
    ) -> ProgramSpec:
        """Make every file of `FILES` in `compiler.home`, where the archive and header lie already.

        Returns `spec` with the sizes that are known once the program is linked; it is also in the
        file `PROGRAM`.

        Raises:
            MissingToolError: the C compiler's library, or an emulator, is missing.
            GateError: the program does not fit the device.
            MeasurementError: an emulator failed.
        """


def write_spec(home: Path, spec: ProgramSpec) -> None:
    """Write the file `PROGRAM`."""
    (home / PROGRAM).write_text(manifest.text_of(spec), encoding="utf-8")
