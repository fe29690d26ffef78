"""A program for an NVIDIA GPU: machine code in a library that loads the driver at its first run."""

from pathlib import Path

from edgekiln.compiler.aot import cuda, emit, nvrtc
from edgekiln.compiler.aot.backends import gpu
from edgekiln.compiler.aot.backends.backend import LibrarySources
from edgekiln.compiler.aot.backends.gpu import EDGES_IN_ARENA, EXPORTS, FILES, finish
from edgekiln.compiler.aot.cuda import compile_function
from edgekiln.compiler.aot.emit import PlacedProgram
from edgekiln.compiler.aot.functions import Functions
from edgekiln.targets.profile import TargetProfile

__all__ = ["EDGES_IN_ARENA", "EXPORTS", "FILES", "compile_function", "finish", "write_program"]

_ALIGN = 64  # of each image in the block
_CODE = """\
extern const uint8_t {block}[] __attribute__((visibility("hidden")));
static const cuda_kernel_t KERNELS[] = {{
{kernels}
}};
static const cuda_code_t CODE = {{
    .images = {block},
    .kernels = KERNELS,
    .kernel_count = {count},
    .capability = {capability},
    .driver = {driver},
}};"""


def write_program(
    home: Path, source: PlacedProgram, profile: TargetProfile, compiled: Functions
) -> LibrarySources:
    """Write the driver, its tables and the kernels' images; see `Backend.write_program`."""
    block = bytearray()
    rows = []
    for symbol, each in compiled.compiled.items():
        places = []
        for image in cuda.images(each.object):
            block += bytes(-len(block) % _ALIGN)
            places.append(len(block))
            block += image
        rows.append(f"    {{{emit.string(symbol)}, {', '.join(map(str, places))}}},")
    arch = str(profile.tvm["arch"])
    code = _CODE.format(
        block=gpu.KERNELS, kernels="\n".join(rows), count=len(rows),
        capability=arch.removeprefix("sm_"), driver=nvrtc.toolkit(arch).driver,
    )  # fmt: skip
    return gpu.write_sources(home, source, "cuda", bytes(block), code)
