"""A program for a GPU with OpenCL: a library that loads the GPU's driver when it first runs."""

from pathlib import Path

from edgekiln.compiler.aot.backends import gpu
from edgekiln.compiler.aot.backends.backend import LibrarySources
from edgekiln.compiler.aot.backends.gpu import EDGES_IN_ARENA, EXPORTS, FILES, finish
from edgekiln.compiler.aot.emit import PlacedProgram
from edgekiln.compiler.aot.functions import Functions
from edgekiln.compiler.aot.opencl import compile_function, program_text
from edgekiln.targets.profile import TargetProfile

__all__ = ["EDGES_IN_ARENA", "EXPORTS", "FILES", "compile_function", "finish", "write_program"]

_CODE = """\
extern const char {kernels}[] __attribute__((visibility("hidden")));
static const opencl_code_t CODE = {{{kernels}, {bytes}}};"""


def write_program(
    home: Path,
    source: PlacedProgram,
    profile: TargetProfile,  # noqa: ARG001 what it asks for is in the compiler's flags
    compiled: Functions,
) -> LibrarySources:
    """Write the driver, its tables and the kernels' text; see `Backend.write_program`."""
    text = program_text(each.object for each in compiled.compiled.values())
    code = _CODE.format(kernels=gpu.KERNELS, bytes=len(text))
    return gpu.write_sources(home, source, "opencl", text, code)
