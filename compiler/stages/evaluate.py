"""Evaluate: how good any artifact of the chain is, always on the same held-out samples."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from edgekiln.compiler.onnx_model import io
from edgekiln.compiler.onnx_model.io import Meta
from edgekiln.compiler.pipeline.stage import Kind, Stage, StageContext
from edgekiln.runtime.errors import BundleError, ConfigError, InputError, UnsupportedError

if TYPE_CHECKING:
    from edgekiln.compiler.onnx_model.feed import Feed
    from edgekiln.runtime.manifest import ProgramSpec

_BATCH = 64
# Under QEMU a program does 0.05 to 0.1 GMAC/s: this is a minute at most.
_EMULATED_MACS = 3_000_000_000


@dataclass(frozen=True, kw_only=True)
class Evaluate(Stage):
    """Run the test split through the model: top-1 accuracy, or the AUC of an autoencoder's error.

    Another machine's program runs under QEMU, a large one on the first samples only.

    The report is JSON: {"metric": "accuracy" | "auc", "accuracy": the metric in [0, 1], "n",
    "parameters" (null for a compiled program), "macs", "file_bytes", "predictions_sha256"}.
    """

    name: ClassVar[str] = "evaluate"
    takes: ClassVar[tuple[Kind, ...]] = ("module", "onnx", "onnx-int8", "lib")
    gives: ClassVar[Kind] = "report"
    suffix: ClassVar[str] = ".json"
    tools: ClassVar[tuple[str, ...]] = ("torch", "onnxruntime", "numpy")

    samples: int = field(
        default=0, metadata={"help": "Test samples, the first of them; 0: all there are."}
    )
    data: str = field(
        default="", metadata={"help": "Data set to test on; the model's own by default."}
    )
    data_sha256: str = field(default="", metadata={"derived": True})
    seed: int = field(default=0, metadata={"help": "Seed of the data set's splits."})

    def __post_init__(self) -> None:
        if self.samples < 0:
            raise ConfigError(f"evaluate: samples = {self.samples}", hint="0 takes all there are")

    def run(self, src: Path, dst: Path, ctx: StageContext) -> Mapping[str, float]:
        from edgekiln.compiler.onnx_model.feed import feed_for

        subject = open_subject(src)
        feed = feed_for(subject.meta, subject.shape, data=self.data, seed=self.seed)
        samples = self.samples
        if not samples and feed.dataset.task == "classification":  # an AUC takes both kinds
            samples = subject.patience
        truth = feed.dataset.test.y[: samples or None]
        outputs: list[NDArray[np.float32]] = []
        done = 0
        for x, _ in feed.batches(feed.dataset.test, batch=subject.batch, samples=samples):
            y = subject.predict(x).reshape(len(x), -1)
            outputs.append(_errors(x, y) if feed.dataset.task == "reconstruction" else y)
            done += len(x)
            ctx.advance(done, len(truth), "evaluating")
        scores = np.concatenate(outputs)
        report = _judged(scores, truth, feed) | {
            "n": len(truth),
            "parameters": subject.parameters,
            "macs": subject.macs,
            "file_bytes": subject.file_bytes,
        }
        part = dst.with_name(dst.name + ".part")
        part.write_text(json.dumps(report, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        part.replace(dst)
        return {"accuracy": report["accuracy"], "n": len(truth)}


@dataclass(frozen=True, kw_only=True)
class Subject:
    """Anything that predicts, with what the report says about it."""

    predict: Callable[[NDArray[np.float32]], NDArray[np.float32]]
    batch: int  # samples a call at most
    shape: tuple[int, ...]  # of the input, without the batch
    meta: Meta
    parameters: int | None
    macs: int
    file_bytes: int
    patience: int = 0  # samples worth waiting for; 0: all there are


def open_subject(path: Path) -> Subject:
    """By the file's suffix. Raises InputError and UnsupportedError as the readers do."""
    openers = {".pt": _module, ".onnx": _onnx, ".lib": _program}
    if path.suffix not in openers:
        raise InputError(
            f"{path}: cannot tell what this file is", hint=f"known are {', '.join(openers)}"
        )
    return openers[path.suffix](path)


def area_under_curve(scores: NDArray[np.float32], positive: NDArray[np.bool_]) -> float:
    """Area under the ROC curve: the chance that a positive sample scores above a negative one.

    By ranks, ties counting half: (Σ ranks of positives − n₊(n₊+1)/2) / (n₊ n₋), the Mann–Whitney U.

    Raises:
        InputError: all samples are of one kind.
    """
    count = int(positive.sum())
    if count in (0, len(positive)):
        raise InputError(
            "the test split holds only one kind of sample: no AUC",
            hint="give data with normal samples (label 0) and anomalies (label 1)",
        )
    _, place, repeats = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(repeats) - (repeats - 1) / 2)[place]  # ties share their mean rank
    above = ranks[positive].sum() - count * (count + 1) / 2
    return float(above / (count * (len(positive) - count)))


def _judged(scores: NDArray[np.float32], truth: NDArray[np.int64], feed: "Feed") -> dict[str, Any]:
    if feed.dataset.task == "reconstruction":
        return {
            "metric": "auc",
            "accuracy": area_under_curve(scores, truth != 0),
            "predictions_sha256": _sha256(scores.astype("<f4")),
        }
    if scores.shape[1] < len(feed.dataset.classes):
        raise InputError(
            f"the model tells {scores.shape[1]} classes apart, "
            f"{feed.dataset.name} has {len(feed.dataset.classes)}",
            hint="give the data the model was trained on",
        )
    predicted = scores.argmax(axis=1)
    return {
        "metric": "accuracy",
        "accuracy": float((predicted == truth).mean()),
        "predictions_sha256": _sha256(predicted.astype("<i8")),
    }


def _sha256(array: NDArray[Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()


def _errors(x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean squared reconstruction error of each sample: (N,)."""
    flat = x.reshape(len(x), -1)
    if flat.shape != y.shape:
        raise InputError(f"the model turns {flat.shape[1:]} into {y.shape[1:]}: no reconstruction")
    errors: NDArray[np.float32] = np.mean((flat - y) ** 2, axis=1)
    return errors


def _module(path: Path) -> Subject:
    import torch

    from edgekiln.models.artifact import load_module
    from edgekiln.models.cost import count

    module, about = load_module(path)
    costs = count(module, torch.zeros(1, *about.input_shape))

    def predict(x: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.no_grad():
            y: NDArray[np.float32] = module(torch.from_numpy(x)).numpy()
        return y

    return Subject(
        predict=predict,
        batch=_BATCH,
        shape=about.input_shape,
        meta=Meta(
            preprocessing=about.preprocessing,
            labels=about.classes,
            data=about.data,
            task=about.task,
        ),
        parameters=costs.parameters,
        macs=costs.macs,
        file_bytes=path.stat().st_size,
    )


def _onnx(path: Path) -> Subject:
    """Float models run with all of ONNX Runtime's optimisation, int8 ones as they are written."""
    from edgekiln.compiler.onnx_model.cost import onnx_costs
    from edgekiln.compiler.onnx_model.session import Session

    model = io.load_model(path)
    shape = io.static_shape(model)
    session = Session(model, optimize=not io.is_quantized(model))
    fixed = io.fixed_batch(model)
    costs = onnx_costs(model)
    return Subject(
        predict=_padded(lambda x: session(x)[0], fixed),
        batch=fixed or _BATCH,
        shape=shape,
        meta=io.read_meta(model),
        parameters=costs.parameters,
        macs=costs.macs,
        file_bytes=path.stat().st_size,
    )


def _program(path: Path) -> Subject:
    """A compiled program, in this process or under QEMU. `file_bytes` is its code and weights."""
    from edgekiln.runtime.bundle import read_program
    from edgekiln.runtime.inputs import quantize

    spec, files = read_program(path)
    if len(spec.inputs) != 1:
        raise UnsupportedError(f"a model needs exactly one input, this has {len(spec.inputs)}")
    (given,), result = spec.inputs, spec.outputs[0]
    batch = given.shape[0]
    macs = sum(layer.macs for layer in spec.layers) // batch
    run, emulated = _executor(spec, files)

    def predict(x: NDArray[np.float32]) -> NDArray[np.float32]:
        y = run(quantize(x, given))[0].astype(np.float32)
        if result.scale is not None:
            y = (y - np.float32(result.zero_point or 0)) * np.float32(result.scale)
        return y

    # Whole calls only, and in one start of the emulator as many as the others take at once.
    at_once = batch * max(1, _BATCH // batch) if emulated else batch
    return Subject(
        predict=_padded(predict, at_once),
        batch=at_once,
        shape=given.shape[1:],
        meta=Meta(preprocessing=given.preprocessing, labels=result.labels),
        parameters=None,
        macs=macs,
        file_bytes=spec.code_bytes + spec.weights_bytes,
        patience=max(1, _EMULATED_MACS // max(macs, 1)) if emulated else 0,
    )


def _executor(
    spec: "ProgramSpec", files: Mapping[str, bytes]
) -> tuple[Callable[[NDArray[Any]], "list[NDArray[Any]]"], bool]:
    """What runs the program, and whether that is QEMU."""
    from edgekiln.compiler.devices.emulated import predict
    from edgekiln.runtime.bundle import LIBRARY, executable_name
    from edgekiln.runtime.runner import AotRunner, check_machine

    try:
        check_machine(spec, spec.name)
    except BundleError:
        program = files[executable_name(files, spec.name)]
        return lambda x: predict(spec, program, (x,)), True
    return AotRunner(spec, files[LIBRARY], spec.name).run, False


def _padded(
    predict: Callable[[NDArray[np.float32]], NDArray[np.float32]], fixed: int | None
) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """For a model of one fixed batch: fill the last, shorter batch by repeating its last sample."""
    if fixed is None or fixed == 1:
        return predict

    def fill(x: NDArray[np.float32]) -> NDArray[np.float32]:
        missing = fixed - len(x)
        return predict(np.concatenate([x, np.repeat(x[-1:], missing, axis=0)]))[: len(x)]

    return fill
