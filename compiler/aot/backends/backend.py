"""What a kind of device decides: where inputs and outputs lie, and which files a program is."""

from pathlib import Path
from typing import Protocol

from edgekiln.compiler.aot.toolchain import Compiler
from edgekiln.compiler.ir.program import Program
from edgekiln.runtime import manifest
from edgekiln.runtime.bundle import PROGRAM
from edgekiln.runtime.manifest import ProgramSpec
from edgekiln.targets.profile import TargetProfile

ARCHIVE, HEADER = "libmodel.a", "model.h"
GOVERNOR_HEADER = "governor.h"  # of a program with several operating points
OBJECT = "model.o"  # what the archive holds: constants and every kernel, nothing else visible


class Backend(Protocol):
    """A module of this package, which `edgekiln.compiler.aot.backends.table` lists by its kind."""

    EDGES_IN_ARENA: (
        bool  # it has places for inputs and outputs, which else need memory of their own
    )
    FILES: tuple[str, ...]  # of a lib artifact, in their order there

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
