"""The tools that an estimate needs, where they are and which packages bring them."""

import re
import shutil
import subprocess

from edgekiln.runtime.device.qemu import EMULATORS, package_of
from edgekiln.runtime.errors import MissingToolError, debian_hint

LLVM_RELEASES = (19, 20, 21)  # their names end so on Debian; 19 first: estimates are comparable
LLVM_PACKAGE = f"llvm-{LLVM_RELEASES[0]}"
LLVM_TOOLS = ("llvm-mca", "llvm-mc", "llvm-objdump")
HOST_CC = "gcc"  # compiles QEMU's plugin


def llvm_tool(name: str) -> str:
    """The path of one of `LLVM_TOOLS`. Raises MissingToolError."""
    for release in LLVM_RELEASES:
        if path := shutil.which(f"{name}-{release}"):
            return path
    raise MissingToolError(f"{name} is not installed", debian_hint(LLVM_PACKAGE))


def llvm_release() -> str:
    """LLVM's release, e.g. "19.1.7". Raises MissingToolError."""
    text = subprocess.run(
        [llvm_tool("llvm-mca"), "--version"], capture_output=True, text=True, check=True
    ).stdout
    match = re.search(r"version (\S+)", text)
    return match[1] if match else "unknown"


def emulator(machine: str) -> str:
    """QEMU's name for the machine's emulator. Raises MissingToolError."""
    name = EMULATORS[machine]
    if shutil.which(name) is None:
        raise MissingToolError(f"{name} is not installed", debian_hint(package_of(name)))
    return name


def emulator_release(name: str) -> tuple[int, int]:
    """The emulator's release, e.g. (7, 2)."""
    text = subprocess.run([name, "--version"], capture_output=True, text=True, check=True).stdout
    match = re.search(r"version (\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def require_host_compiler() -> None:
    """Raises MissingToolError when there is no C compiler for this machine."""
    if shutil.which(HOST_CC) is None:
        raise MissingToolError(
            f"{HOST_CC} is not installed: it compiles the counter for QEMU",
            debian_hint("gcc", "libc6-dev"),
        )
