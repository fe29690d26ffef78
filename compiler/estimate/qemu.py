"""Count the instructions of a program for another machine: QEMU's user mode and our plugin."""

import hashlib
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path

from edgekiln.compiler.disk import explained
from edgekiln.compiler.estimate import tools
from edgekiln.compiler.estimate.executed import Executed, Instruction
from edgekiln.compiler.store import Store
from edgekiln.runtime.errors import MeasurementError

SOURCES = ("blocks.c", "mark.h")

# machine → LLVM's triple and features, all of which its disassembler and assembler shall know
ASSEMBLERS: Mapping[str, tuple[str, str]] = {
    "aarch64": ("aarch64-linux-gnu", "+all"),
    "armv7l": ("armv7l-linux-gnueabihf", "+neon,+vfp4,+hwdiv-arm"),
}


def count(command: Sequence[str], machine: str, cpu: str, home: Path) -> Executed:
    """Run `command` in `home` on an emulated `cpu` and count what its marks enclose.

    Raises:
        MissingToolError: QEMU, gcc or LLVM is not installed.
        MeasurementError: the program failed.
    """
    name = tools.emulator(machine)
    counts = home / "counts.txt"
    plugin = _plugin(name)
    done = subprocess.run(
        [name, "-cpu", cpu, "-plugin", f"{plugin},out={counts}", *command],
        cwd=home, capture_output=True, text=True, errors="replace", check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise MeasurementError(
            f"{name}: the counted program ended with {done.returncode}: "
            f"{done.stderr.strip()[-300:] or 'without a word'}",
            hint=f"does {name} -cpu {cpu} run it without `-plugin`?",
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


def _read(counts: Path, machine: str) -> Executed:
    sections: dict[int, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    words: dict[int, str] = {}
    for line in counts.read_text().splitlines():
        section, start, times, *block = line.split()
        at = int(start, 16)
        for word in block:
            sections[int(section)][at] += int(times)
            words[at] = word
            at += len(word) // 2
    texts = _disassemble(sorted(set(words.values())), machine)
    return Executed(
        sections, {at: Instruction(texts[word], len(word) // 2) for at, word in words.items()}
    )


def _disassemble(words: list[str], machine: str) -> dict[str, str]:
    """Hexadecimal instruction → its text; "" for what LLVM cannot read."""
    triple, features = ASSEMBLERS[machine]
    # Two bytes: the C library's Thumb code, which LLVM takes for broken Arm code.
    whole = [word for word in words if len(word) == 8]
    lines = "".join(f"[{' '.join(_bytes(word))}]\n" for word in whole)
    done = subprocess.run(
        [tools.llvm_tool("llvm-mc"), "--disassemble", f"-triple={triple}", f"-mattr={features}"],
        input=lines, capture_output=True, text=True, check=False,
    )  # fmt: skip
    refused = {int(part.split(":")[1]) for part in done.stderr.splitlines() if "warning:" in part}
    texts = (line.strip().replace("\t", " ") for line in done.stdout.splitlines()[1:])
    known = {
        word: "" if number in refused else next(texts) for number, word in enumerate(whole, start=1)
    }
    return dict.fromkeys(words, "") | known


def _bytes(word: str) -> list[str]:
    return [f"0x{word[i : i + 2]}" for i in range(0, len(word), 2)]
