"""NVIDIA's run-time compiler, from its wheels: it needs no GPU, no driver and no CUDA."""

import ctypes
import re
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from edgekiln.runtime.errors import MissingToolError

if TYPE_CHECKING:
    from collections.abc import Callable

INSTALL_HINT = "pip install 'edgekiln[cuda]'"


@dataclass(frozen=True, kw_only=True)
class Toolkit:
    """A release of CUDA: whose code which drivers take."""

    package: str
    library: str
    driver: int  # the oldest version of the driver's interface that loads its cubins


# Cubins of CUDA 12 load on every driver of CUDA 12 (NVIDIA, "CUDA Compatibility", minor versions),
# and so on JetPack 6, whose driver is one of 12.2 to 12.6 and knows nothing of 13's.
_CUDA_12 = Toolkit(package="nvidia-cuda-nvrtc-cu12", library="libnvrtc.so.12", driver=12000)
# Jetson Thor is sm_101 in CUDA 12.9 and sm_110 from 13.0 on, with which its JetPack 7 came.
_CUDA_13 = Toolkit(package="nvidia-cuda-nvrtc", library="libnvrtc.so.13", driver=13000)
_OF_CUDA_13 = ("sm_110",)

PACKAGES = (_CUDA_12.package, _CUDA_13.package)

# No contraction: the kernels say themselves where a product and a sum are rounded once.
_OPTIONS = ("--fmad=false", "--std=c++17", "--disable-warnings", "--ptxas-options=-v")


@dataclass(frozen=True, kw_only=True)
class NvidiaCode:
    """What the compiler made of a text, and what it says of registers and memory."""

    cubin: bytes
    ptx: bytes
    log: str


class NvrtcError(Exception):
    """The compiler refused what we generated: a bug of ours, not the user's mistake."""


def toolkit(arch: str) -> Toolkit:
    """The release that compiles for an architecture, e.g. "sm_87"."""
    return _CUDA_13 if arch in _OF_CUDA_13 else _CUDA_12


def version(arch: str) -> str:
    """The installed compiler's version in words; "" where it is missing."""
    package = toolkit(arch).package
    try:
        return f"{package} {metadata.version(package)}"
    except metadata.PackageNotFoundError:
        return ""


def problem(arch: str) -> str:
    """Why nothing can be compiled for an architecture here; "" if it can."""
    package = toolkit(arch).package
    if not version(arch):
        return f"NVIDIA's compiler, {package}, is not installed"
    try:
        _library(package)
    except OSError as error:
        return f"NVIDIA's compiler, {package}, does not load: {error}"
    return ""


def compile_text(text: str, name: str, arch: str) -> NvidiaCode:
    """Compile CUDA's C++ for one GPU. Equal texts give equal bytes.

    Args:
        name: of the text, in the compiler's messages.

    Raises:
        MissingToolError: the compiler is not installed.
        NvrtcError: the text is not right.
    """
    if fault := problem(arch):
        raise MissingToolError(fault, INSTALL_HINT)
    library = _library(toolkit(arch).package)
    program = ctypes.c_void_p()
    made = library.nvrtcCreateProgram(
        ctypes.byref(program), text.encode(), name.encode(), 0, None, None
    )
    if made:
        raise NvrtcError(f"{name}: NVRTC error {made}")
    try:
        options = [option.encode() for option in (f"--gpu-architecture={arch}", *_OPTIONS)]
        array = (ctypes.c_char_p * len(options))(*options)
        status = library.nvrtcCompileProgram(program, len(options), array)
        log = _taken(library, "ProgramLog", program).rstrip(b"\0").decode(errors="replace")
        if status:
            raise NvrtcError(f"{name}: NVRTC error {status}: {log}")
        return NvidiaCode(
            cubin=_taken(library, "CUBIN", program), ptx=_taken(library, "PTX", program), log=log
        )
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(program))


def _taken(library: ctypes.CDLL, what: str, program: ctypes.c_void_p) -> bytes:
    """`nvrtcGet…`, whose size `nvrtcGet…Size` tells."""
    size = ctypes.c_size_t()
    asked: Callable[..., int] = getattr(library, f"nvrtcGet{what}Size")
    told: Callable[..., int] = getattr(library, f"nvrtcGet{what}")
    if status := asked(program, ctypes.byref(size)):
        raise NvrtcError(f"{what}: NVRTC error {status}")
    buffer = ctypes.create_string_buffer(size.value)
    if status := told(program, buffer):
        raise NvrtcError(f"{what}: NVRTC error {status}")
    return buffer.raw


@cache
def _library(package: str) -> ctypes.CDLL:
    """The library of a wheel. Raises OSError."""
    name = next(kit.library for kit in (_CUDA_12, _CUDA_13) if kit.package == package)
    found = [
        Path(str(metadata.distribution(package).locate_file(file)))
        for file in metadata.files(package) or ()
        if re.fullmatch(r"libnvrtc(-builtins)?\.so\.[\d.]+", file.name)
    ]
    # It looks for its own headers by name alone, so they are loaded before it.
    for path in found:
        if path.name != name:
            ctypes.CDLL(str(path))
    home = next((path for path in found if path.name == name), None)
    if home is None:
        raise OSError(f"no {name} in its wheel")
    return ctypes.CDLL(str(home))
