"""CUDA kernels without a GPU: their own text, compiled for this processor, thread after thread."""

import ctypes
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from edgekiln.compiler.aot import cuda
from edgekiln.compiler.aot.codegen import Compiled
from edgekiln.compiler.aot.functions import compile_functions
from edgekiln.compiler.aot.gpu_text import prelude
from edgekiln.compiler.kernels.types import Kernel
from edgekiln.compiler.pipeline.stage import StageContext
from edgekiln.compiler.stages.compile import CompileStage
from edgekiln.runtime.library import ALIGN, aligned
from edgekiln.targets import profile
from tests.compiler import artifacts
from tests.gpu_memory import GUARD, Array, on_guarded_blocks

if TYPE_CHECKING:
    from tvm.tirx import PrimFunc

TARGET = "cuda-sm86"
HEADER = Path(__file__).with_name("cuda_twin.h")
STUB = HEADER.with_name("cuda_stub.c")
_SYMBOL = "kernel_of_a_test"
_SIGNATURE = re.compile(r'extern "C" __global__ void .*?(\w+)\(([^)]*)\) \{')
# The sanitizer stops where a vector does not begin at a multiple of its bytes, as a GPU does.
_FLAGS = (
    "-std=c++17", "-O1", "-fPIC", "-shared", "-fno-strict-aliasing", "-ffp-contract=off", "-w",
    "-fsanitize=alignment", "-fno-sanitize-recover=all", "-fwrapv",
)  # fmt: skip


def require() -> None:
    """Skip the test where no C++ compiler is."""
    if not shutil.which("g++"):
        pytest.skip("no C++ compiler here: apt-get install g++")


def load(kernel: Kernel, writes: int = 1) -> Callable[..., None]:
    """The kernel as `f(*arrays)`, in the order of its parameters; the last `writes` are written."""
    text = cuda.kernel_text(kernel.func, _SYMBOL, profile.load(TARGET).tvm)
    with tempfile.TemporaryDirectory() as home:
        library = ctypes.CDLL(str(twins({_SYMBOL: text}, Path(home))))
    launch = kernel.code.launch
    assert launch is not None

    def run(blocks: list[Array]) -> list[Array]:
        # At addresses as the GPU's memory has them.
        placed = [aligned(len(block)) for block in blocks]
        for to, block in zip(placed, blocks, strict=True):
            to[:] = block
        assert GUARD % ALIGN == 0
        addresses = [each.ctypes.data + GUARD for each in placed]
        array = (ctypes.c_void_p * len(addresses))(*addresses)
        getattr(library, f"twin_{_SYMBOL}")(launch.groups, launch.threads, array)
        return placed

    return on_guarded_blocks(run, writes)


def twins(texts: Mapping[str, str], home: Path) -> Path:
    """A library with `void twin_NAME(unsigned groups, unsigned threads, void *arguments[])` for
    each kernel, which runs all its threads, and `const int arguments_NAME`.
    """
    source, library = home / "twins.cc", home / "twins.so"
    # C++ wants it in this order.
    of_groups = ("__shared__ alignas(64)", "alignas(64) static")
    kernels = [text.replace(*of_groups) for text in texts.values()]
    parts = [f'#include "{HEADER}"', prelude("cuda"), *kernels]
    parts += [_twin(text) for text in texts.values()]
    source.write_text("\n".join(parts))
    subprocess.run(["g++", *_FLAGS, "-o", library, source], check=True)
    return library


def _twin(text: str) -> str:
    found = _SIGNATURE.search(text)
    assert found, text
    symbol, parameters = found.groups()
    types = [each.rpartition("*")[0].strip() for each in parameters.split(",")]
    handed = ", ".join(f"({type_} *)arguments[{i}]" for i, type_ in enumerate(types))
    how = "all_groups" if "__syncthreads" in text else "all_threads"
    return (
        f'extern "C" {{ extern const int arguments_{symbol} = {len(types)}; }}\n'
        f'extern "C" void twin_{symbol}(unsigned groups, unsigned threads, void *arguments[]) {{\n'
        f"    {how}(groups, threads, [=] {{ {symbol}({handed}); }});\n}}"
    )


@dataclass(frozen=True)
class StubDriver:
    """A `libcuda.so.1` that runs a program's kernels by their twins."""

    home: Path  # where it lies

    def environment(self, **told: str) -> dict[str, str]:
        """The environment of a process that loads it; what is told goes to the stub."""
        return {
            **os.environ,
            "LD_LIBRARY_PATH": str(self.home),
            "STUB_TWINS": str(self.home / "twins.so"),
            "STUB_LOG": str(self.home / "log.json"),
            **told,
        }

    def log(self) -> dict[str, int]:
        """What the process that ended last had done."""
        counted: dict[str, int] = json.loads((self.home / "log.json").read_text())
        return counted


def stub_driver(texts: Mapping[str, str], home: Path) -> StubDriver:
    """The driver, in a directory of its own."""
    twins(texts, home)
    flags = ("-shared", "-fPIC", "-O1", "-Wall", "-Werror")
    subprocess.run(["gcc", *flags, "-o", home / "libcuda.so.1", STUB], check=True)
    return StubDriver(home)


def texts_of(model: Path, target: profile.TargetProfile) -> dict[str, str]:
    """The kernels of a model's program, by name, as NVIDIA's compiler gets them."""
    context = StageContext(target=target, scratch=model.parent)
    program, _ = CompileStage().lower(artifacts.of(model), context)

    def text(func: "PrimFunc", symbol: str, tvm_target: Mapping[str, object]) -> Compiled:
        made = cuda.kernel_text(func, symbol, tvm_target)
        return Compiled(object=made.encode(), workspace=())

    found = compile_functions(program, target.tvm, text)
    return {symbol: each.object.decode() for symbol, each in found.compiled.items()}
