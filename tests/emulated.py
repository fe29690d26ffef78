"""Run a compiled function of another chip under QEMU, on numpy arrays: the sibling of `aot.jit`."""

import shutil
import struct
import subprocess
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edgekiln.compiler.aot.backends import microcontroller
from edgekiln.compiler.aot.codegen import compile_function
from edgekiln.runtime.device.qemu import EMULATORS, board_command
from edgekiln.targets.profile import TargetProfile

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from tvm.tirx import PrimFunc

# Reads a call from a file, makes it, writes the results, its last arrays, to another; ends with 6
# where something beside an operand was written. Every argument is passed as a word: what the kernel
# takes as int32 is the low half of its register, on every Arm ABI.
_CALLER = r"""
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef __linux__
#include <sys/mman.h>
#endif

enum { ALIGN = 64, OVERREAD = 64, MOST = 24, NOISE = 0xa5 };
static FILE *request;
int32_t kernel(uintptr_t, ...);

static uint32_t number(void) {
    uint32_t value;
    if (fread(&value, sizeof value, 1, request) != 1) exit(2);
    return value;
}

/* Noise around each operand: kernels may read what is behind it but must not care, nor write. */
static struct { unsigned char *start; size_t bytes, size; } rooms[MOST];
static int count_of_rooms;

static unsigned char *memory(size_t size) {
#ifdef __linux__ /* it ends at a page that may not be touched */
    enum { PAGE = 4096 };
    size_t pages = (size + PAGE - 1) / PAGE * PAGE;
    unsigned char *start = mmap(NULL, pages + PAGE, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED || mprotect(start + pages, PAGE, PROT_NONE)) exit(7);
    return start + pages - size;
#else
    uintptr_t start = (uintptr_t)malloc(size + ALIGN);
    return (unsigned char *)((start + ALIGN - 1) / ALIGN * ALIGN);
#endif
}

static void *room(uint32_t bytes) {
    size_t size = (bytes + OVERREAD + ALIGN - 1) / ALIGN * ALIGN;
    unsigned char *start = memory(ALIGN + size);
    memset(start, NOISE, ALIGN + size);
    start += ALIGN;
    rooms[count_of_rooms].start = start;
    rooms[count_of_rooms].bytes = bytes;
    rooms[count_of_rooms++].size = size;
    return start;
}

static int spoiled(void) {
    for (int i = 0; i < count_of_rooms; i++) {
        for (int j = 1; j <= ALIGN; j++) if (rooms[i].start[-j] != NOISE) return 1;
        for (size_t j = rooms[i].bytes; j < rooms[i].size; j++)
            if (rooms[i].start[j] != NOISE) return 1;
    }
    return 0;
}

int main(void) {
    uintptr_t a[MOST] = {0};
    request = fopen("request", "rb");
    if (!request) return 2;
    uint32_t arrays = number(), ints = number(), workspaces = number(), writes = number();
    uint32_t count = 0;
    if (arrays + ints + workspaces > MOST) return 3;
    for (uint32_t i = 0; i < arrays; i++) {
        uint32_t size = number();
        void *array = room(size);
        if (fread(array, 1, size, request) != size) return 2;
        a[count++] = (uintptr_t)array;
    }
    for (uint32_t i = 0; i < ints; i++) a[count++] = number();
    for (uint32_t i = 0; i < workspaces; i++) a[count++] = (uintptr_t)room(number());
    int32_t (*call)() = (int32_t(*)())kernel;
    if (call(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9], a[10], a[11], a[12], a[13],
             a[14], a[15], a[16], a[17], a[18], a[19], a[20], a[21], a[22], a[23]))
        return 4;
    if (spoiled()) return 6;
    FILE *response = fopen("response", "wb");
    if (!response) return 5;
    for (uint32_t i = arrays - writes; i < arrays; i++)
        if (fwrite(rooms[i].start, 1, rooms[i].bytes, response) != rooms[i].bytes) return 5;
    return fclose(response) ? 5 : 0;
}
"""


def emulator(target: TargetProfile) -> tuple[str, ...]:
    """The command that runs the target's executables here."""
    return EMULATORS[target.machine], "-cpu", target.qemu_cpu


def command(target: TargetProfile, program: str) -> list[str]:
    """Runs a program, or a microcontroller's image, without arguments."""
    if target.board:
        return board_command(target.board.machine, program, ())
    return [*emulator(target), program]


def require(target: TargetProfile) -> None:
    """Skip the test when the target's compiler or its emulator is not installed."""
    for tool in (target.toolchain.cc, EMULATORS[target.machine]):
        if shutil.which(tool) is None:
            packages = " ".join(target.toolchain.packages)
            pytest.skip(f"{tool} is not installed (apt-get install {packages})")


def load(func: "PrimFunc", target: TargetProfile, *, writes: int = 1) -> Callable[..., None]:
    """Compile `func` for `target` and return it as `f(*arrays, *ints)`, as `jit.load` does; the
    last `writes` arrays are its results.
    """
    compiled = compile_function(func, "kernel", target.tvm)
    program = _link(compiled.object, target)

    def call(*args: "NDArray[Any] | int") -> None:
        arrays = [arg for arg in args if isinstance(arg, np.ndarray)]
        ints = [arg for arg in args if isinstance(arg, int)]
        request = [struct.pack("<4I", len(arrays), len(ints), len(compiled.workspace), writes)]
        for array in arrays:
            request += [struct.pack("<I", array.nbytes), array.tobytes()]
        request += [struct.pack("<i", value) for value in ints]
        request += [struct.pack("<I", size) for size in compiled.workspace]
        with tempfile.TemporaryDirectory(prefix="edgekiln-emulated-") as home:
            path = Path(home, "program")
            path.write_bytes(program)
            path.chmod(0o755)
            Path(home, "request").write_bytes(b"".join(request))
            subprocess.run(command(target, str(path)), cwd=home, capture_output=True, check=True)
            response = Path(home, "response").read_bytes()
        for result in arrays[-writes:]:
            own, response = response[: result.nbytes], response[result.nbytes :]
            result[...] = np.frombuffer(own, result.dtype).reshape(result.shape)

    return call


def _link(kernel: bytes, target: TargetProfile) -> bytes:
    with tempfile.TemporaryDirectory(prefix="edgekiln-emulated-") as directory:
        home = Path(directory)
        (home / "kernel.o").write_bytes(kernel)
        cc, *flags = compiler(target)
        (home / "caller.o").write_bytes(_caller(cc, *flags))
        extra = ["-static"]
        if target.board:
            microcontroller.write_sources(home)
            floats = microcontroller.write_functions_of_floats(home, target)
            extra = [*floats, microcontroller.STARTUP, *microcontroller.link_flags(target)]
        command = [cc, *flags, "-s", "caller.o", "kernel.o", *extra, "-o", "program", "-lm"]
        subprocess.run(command, cwd=home, check=True, capture_output=True)
        return (home / "program").read_bytes()


def compiler(target: TargetProfile) -> list[str]:
    """A microcontroller's core decides about the ABI and the C library; the others have one."""
    return [target.toolchain.cc, *(target.toolchain.cflags if target.board else ())]


@cache
def _caller(*cc: str) -> bytes:
    with tempfile.TemporaryDirectory(prefix="edgekiln-emulated-") as directory:
        home = Path(directory)
        (home / "caller.c").write_text(_CALLER)
        subprocess.run([*cc, "-O1", "-w", "-D_GNU_SOURCE", "-c", "caller.c"], cwd=home, check=True)
        return (home / "caller.o").read_bytes()
