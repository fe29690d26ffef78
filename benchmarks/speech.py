"""Silero VAD in int8: how many chunks of speech the whole program decides as the float network.

    pip install --no-deps silero-vad
    apt-get install pocketsphinx-testdata gcc-aarch64-linux-gnu gcc-arm-none-eabi qemu-user …
    python -m edgekiln.benchmarks.speech FOLDER > speech.md

The network is built as in `domains`, by `edgekiln build`, as it is and with limits of what is lost.
A program keeps the network's state and its window by itself, and is given 512 new samples a call;
the float network runs on ONNX Runtime, with both carried by hand as the package carries them. A
decision is whether the probability of speech is above a half. Ranges are from sentences of one
reader; speakers, noise and words of the other recordings chose nothing. On chips that are not here
programs run under QEMU.
"""

import argparse
import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from edgekiln.benchmarks.domains import MODELS, DomainModel, built
from edgekiln.benchmarks.dtln.sound import BOOK, CARDS, Samples, noisy
from edgekiln.compiler.build.result import TargetResult
from edgekiln.compiler.evaluation.subject import Subject, program_subject
from edgekiln.models.data import wave_files
from edgekiln.runtime.bundle import read_program
from edgekiln.runtime.text import human_bytes

_RATE_HZ, _CHUNK, _CONTEXT = 16000, 512, 64
_SPEAKS = 0.5
_LIMITS_DB = ("", "30", "40")
_CHIPS = ("rpi5", "cortex-m7", "cortex-m55")
_HOST = "host"

Probabilities = NDArray[np.float32]  # of each chunk
Sounds = Mapping[str, Sequence[Samples]]  # chunks of each recording, by what they are


def main() -> None:
    """Build, count, and print both tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    given = parser.parse_args()
    found = importlib.util.find_spec("silero_vad")
    if found is None or found.origin is None or not BOOK.is_dir():
        missing = "Debian's pocketsphinx-testdata" if found else "the package silero-vad"
        parser.exit(5, f"{missing} is not installed\n")
    given.folder.mkdir(parents=True, exist_ok=True)
    network = FloatNetwork(Path(found.origin).parent / "data" / "silero_vad.onnx")
    recordings = sounds()
    real = {kind: [network(each) for each in group] for kind, group in recordings.items()}
    heads = [f"{kind}: of {sum(map(len, group)):,}" for kind, group in real.items()]
    print(f"| program | in floats | {' | '.join(heads)} |\n|---|---:|{'---:|' * len(heads)}")
    rows = []
    for limit in _LIMITS_DB:
        program = _built(limit, given.folder)
        name = f"int8, `--min-sqnr {limit}`" if limit else "int8"
        print(f"| {name} | {' | '.join(_counts(program, recordings, real))} |", flush=True)
        rows += [f"| {name} | {each} |" for each in _on_chips(program, recordings)]
    print("\n| program | chip | chunks | bits | weights and code | RAM |")
    print("|---|---|---:|---|---:|---:|")
    print(*rows, sep="\n")


def sounds() -> Sounds:
    """Recordings of Debian's package, and the same under noise."""
    clean = {
        folder: [wave_files.read(path, _RATE_HZ) for path in wave_files.files_in(folder)]
        for folder in (BOOK, CARDS)
    }
    commands = [_raw(path) for path in sorted(BOOK.parent.glob("*.raw"))]
    under_noise = [sound for folder in (BOOK, CARDS) for _, sound in noisy(folder, seed=1)]
    kinds = {
        "read aloud": clean[BOOK],
        "other speakers": [*clean[CARDS], *commands],
        "under noise": under_noise,
    }
    return {kind: list(map(chunks, group)) for kind, group in kinds.items()}


def _raw(path: Path) -> Samples:
    """Little-endian samples of 16 bits, without any head."""
    return np.fromfile(path, "<i2").astype(np.float32) / np.float32(1 << 15)


def chunks(sound: Samples) -> Samples:
    """What is new in each call: (chunks, 512); what does not fill one is left out."""
    return sound[: len(sound) // _CHUNK * _CHUNK].reshape(-1, _CHUNK)


class FloatNetwork:
    """The package's network, on ONNX Runtime, with state and window as the package carries them."""

    def __init__(self, model: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(model, options)

    def __call__(self, recording: Samples) -> Probabilities:
        """(chunks, 512) → (chunks)."""
        state, context = np.zeros((2, 1, 128), np.float32), np.zeros(_CONTEXT, np.float32)
        found = []
        for chunk in recording:
            window = np.concatenate([context, chunk])[None]
            feeds = {"input": window, "state": state, "sr": np.array(_RATE_HZ)}
            answer, state = self._session.run(["output", "stateN"], feeds)
            found.append(answer[0, 0])
            context = chunk[-_CONTEXT:]
        return np.array(found, np.float32)


@dataclass(frozen=True, kw_only=True)
class BuiltProgram:
    """The program for each chip."""

    targets: Mapping[str, TargetResult]

    def on(self, chip: str) -> Subject:
        return program_subject(*read_program(Path(self.targets[chip].bundle)))


def _built(limit: str, folder: Path) -> BuiltProgram:
    model: DomainModel = next(each for each in MODELS if each.package == "silero_vad")
    options = [*model.options, *(word for chip in (_HOST, *_CHIPS) for word in ("--target", chip))]
    if limit:
        options += ["--min-sqnr", limit]
    name = f"{model.name} {limit} dB" if limit else model.name
    result = built(replace(model, name=f"{name} on chips", options=tuple(options)), folder)
    if isinstance(result, str):
        raise SystemExit(result)
    return BuiltProgram(targets={each.target: each for each in result.targets})


def probabilities(program: Subject, recording: Samples) -> Probabilities:
    """Those of a whole stream from its beginning."""
    (found,) = program.predict({program.takes.inputs[0].name: recording[:, None]})
    return np.asarray(found, np.float32).reshape(-1)


def _counts(
    program: BuiltProgram, recordings: Sounds, real: Mapping[str, Sequence[Probabilities]]
) -> Iterator[str]:
    """How much is float, and of each kind how many chunks are decided otherwise."""
    on_host, subject = program.targets[_HOST], program.on(_HOST)
    yield f"{len(on_host.float_ops)} of {on_host.layers}"
    for kind, group in recordings.items():
        own = np.concatenate([probabilities(subject, each) for each in group])
        wanted = np.concatenate(real[kind])
        other = int(((own > _SPEAKS) != (wanted > _SPEAKS)).sum())
        yield f"{other} ({1 - other / len(own):.2%} equal)"


def _on_chips(program: BuiltProgram, recordings: Sounds) -> Iterator[str]:
    """Bits of all chunks without noise that are not this machine's, and what a chip has to hold."""
    clean = [each for kind, group in recordings.items() if "noise" not in kind for each in group]
    host = program.on(_HOST)
    wanted = np.concatenate([probabilities(host, each) for each in clean])
    for chip in _CHIPS:
        subject = program.on(chip)
        own = np.concatenate([probabilities(subject, each) for each in clean])
        off = int((own.view(np.uint32) != wanted.view(np.uint32)).sum())
        bits = f"{off} differ" if off else "equal"
        result = program.targets[chip]
        flash, ram = result.weights_bytes + result.code_bytes, human_bytes(result.arena_bytes)
        if result.footprint is not None:
            flash, ram = result.footprint.flash_bytes, human_bytes(result.footprint.ram_bytes)
        yield f"{chip} | {len(own):,} | {bits} | {human_bytes(flash)} | {ram}"


if __name__ == "__main__":
    main()
