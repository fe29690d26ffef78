"""Count the instructions of a program for another machine: QEMU and our plugin."""

import hashlib
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path

from edgekiln.compiler.estimate import tools
from edgekiln.compiler.estimate.basic_blocks import ExecutionCounts, Instruction
from edgekiln.compiler.pipeline.atomic_io import explained
from edgekiln.compiler.pipeline.store import Store
from edgekiln.runtime.errors import MeasurementError

SOURCES = ("blocks.c", "mark.h")

# machine → LLVM's triple and features, all of which its disassembler and assembler shall know
ASSEMBLERS: Mapping[str, tuple[str, str]] = {
    "aarch64": ("aarch64-linux-gnu", "+all"),
    "armv6-m": ("thumbv6m-none-eabi", ""),
    "armv7e-m": ("thumbv7em-none-eabihf", "+fp-armv8d16sp"),
    "armv7l": ("armv7l-linux-gnueabihf", "+neon,+vfp4,+hwdiv-arm"),
    "armv8-m": ("thumbv8m.main-none-eabihf", "+dsp,+fp-armv8d16sp"),
    "riscv64": ("riscv64-linux-gnu", "+m,+a,+f,+d,+c,+v"),
    "armv8.1-m": ("thumbv8.1m.main-none-eabihf", "+mve.fp,+lob"),
}


def count(command: Sequence[str], machine: str, home: Path, mark: int = 0) -> ExecutionCounts:
    """Run `command`, an emulator and its arguments, in `home`; count what the marks enclose.

    Args:
        mark: the address of the program's function `mark`, where there are no system calls.

    Raises:
        MissingToolError: QEMU, gcc or LLVM is not installed.
        MeasurementError: the program failed.
    """
    name = tools.emulator(machine)
    counts = home / "counts.txt"
    plugin = f"{_plugin(name)},out={counts}" + (f",mark={mark:x}" if mark else "")
    done = subprocess.run(
        [name, "-plugin", plugin, *command[1:]],
        cwd=home, capture_output=True, text=True, errors="replace", check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise MeasurementError(
            f"{name}: the counted program ended with {done.returncode}: "
            f"{done.stderr.strip()[-300:] or 'without a word'}",
            hint=f"does `{' '.join(command)}` run it, without `-plugin`?",
        )
    return _read(counts, machine)


def _plugin(emulator: str) -> Path:
    """The compiled counter, from the store or made now; for this emulator's plugin interface."""
    interface = _interface(tools.emulator_release(emulator))
    source = files("edgekiln.compiler.estimate") / "c"
    texts = {name: (source / name).read_bytes() for name in SOURCES}
    key = hashlib.sha256(b"".join(texts.values()) + bytes([interface])).hexdigest()[:16]
    path = Store().root / "tools" / f"blocks-{key}.so"
    if path.exists():
        return path
    tools.require_host_compiler()
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as directory:
            home = Path(directory)
            for name, text in texts.items():
                (home / name).write_bytes(text)
            flags = ["-O2", "-shared", "-fPIC", "-pthread", f"-DAPI={interface}"]
            command = [tools.HOST_CC, *flags, SOURCES[0], "-o", "blocks.so"]
            subprocess.run(command, cwd=home, check=True, capture_output=True)
            (home / "blocks.so").replace(path)  # atomic: others may build it at the same time
    return path


def _interface(release: tuple[int, int]) -> int:
    """The version of QEMU's plugin interface (include/qemu/qemu-plugin.h of each release)."""
    if release < (9, 0):
        return 1
    return 2 if release < (9, 1) else 3


def _read(counts: Path, machine: str) -> ExecutionCounts:
    sections: dict[int, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    words: dict[int, str] = {}
    for line in counts.read_text().splitlines():
        section, start, times, *block = line.split()
        at = int(start, 16)
        for word in block:
            sections[int(section)][at] += int(times)
            words[at] = word
            # Two hexadecimal digits a byte.
            at += len(word) // 2
    places = sorted(words)
    texts = _disassemble([words[at] for at in places], machine)
    code = {
        at: Instruction(text, len(words[at]) // 2) for at, text in zip(places, texts, strict=True)
    }
    return ExecutionCounts(sections, code)


def _disassemble(words: list[str], machine: str) -> list[str]:
    """The text of each hexadecimal instruction; "" for what LLVM cannot read.

    They must be in order, for Thumb's IT and VPT tell what follows them.
    """
    triple, features = ASSEMBLERS[machine]
    # Two bytes in Arm code: the C library's Thumb, which LLVM takes for broken Arm code.
    thumb = triple.startswith("thumb")
    whole = [word for word in words if thumb or len(word) == 8]
    lines = "".join(f"[{' '.join(_bytes(word))}]\n" for word in whole)
    done = subprocess.run(
        [tools.llvm_tool("llvm-mc"), "--disassemble", f"-triple={triple}", f"-mattr={features}"],
        input=lines, capture_output=True, text=True, check=False,
    )  # fmt: skip
    refused = {int(part.split(":")[1]) for part in done.stderr.splitlines() if "warning:" in part}
    texts = (line.strip().replace("\t", " ") for line in done.stdout.splitlines()[1:])
    known = ("" if line in refused else next(texts) for line in range(1, len(whole) + 1))
    return [next(known) if thumb or len(word) == 8 else "" for word in words]


def _bytes(word: str) -> list[str]:
    return [f"0x{word[i : i + 2]}" for i in range(0, len(word), 2)]
