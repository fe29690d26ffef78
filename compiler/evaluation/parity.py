"""How far the steps of a build are apart: PyTorch → float ONNX → int8 ONNX → program."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.compiler.evaluation.difference import TensorDifference
from edgekiln.runtime.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekiln.runtime.manifest import ProgramSpec

Model = Callable[["NDArray[np.float32]"], "NDArray[np.generic]"]  # its first output


@dataclass(frozen=True, kw_only=True)
class Link:
    """The first outputs of two neighbours on the same inputs."""

    before: str
    after: str
    max_abs: float
    sqnr_db: float | None  # None: identical
    agreement: float  # share of samples with the same largest output


def links(
    models: Sequence[tuple[str, Model]], batches: "Sequence[NDArray[np.float32]]"
) -> list[Link]:
    """Compare each model with the next."""
    results = [
        (name, np.concatenate([_rows(model(batch)) for batch in batches])) for name, model in models
    ]
    return [_link(before, after, a, b) for (before, a), (after, b) in pairwise(results)]


def _rows(output: "NDArray[np.generic]") -> "NDArray[np.float64]":
    return output.reshape(len(output) if output.ndim else 1, -1).astype(np.float64)


def _link(before: str, after: str, a: "NDArray[np.float64]", b: "NDArray[np.float64]") -> Link:
    if a.shape != b.shape:
        raise InputError(
            f"{before} and {after} give outputs of shapes {a.shape[1:]} and {b.shape[1:]}",
            "give the models of one build",
        )
    found = TensorDifference()
    found.add(b, a)
    return Link(
        before=before,
        after=after,
        max_abs=found.max_abs,
        sqnr_db=found.sqnr_db,
        agreement=float((a.argmax(1) == b.argmax(1)).mean()),
    )


def torch_model(path: Path, allow: Collection[str] = ()) -> Model:
    """A module artifact; `allow` is as in `load_module`. Raises InputError."""
    import torch

    from edgekiln.models.artifact import load_module

    module, _ = load_module(path, allow)
    module.eval()

    def run(batch: "NDArray[np.float32]") -> "NDArray[np.generic]":
        with torch.no_grad():
            result: NDArray[np.generic] = module(torch.from_numpy(batch)).numpy()
        return result

    return run


def onnx_model(path: Path) -> Model:
    """An ONNX file under ONNX Runtime's basic optimisation, batch by batch. Raises InputError."""
    from edgekiln.compiler.onnx_model.io import load_model
    from edgekiln.compiler.onnx_model.session import Session

    session = Session(load_model(path), optimize=False)
    return lambda batch: session(batch)[0]


def batches_for(
    spec: "ProgramSpec", model: Path, *, data: str, seed: int, samples: int
) -> "list[NDArray[np.float32]]":
    """Inputs of the program's shape: held-out samples when data is known, else random codes.

    Raises:
        InputError: data that does not fit; a program that takes other than one float tensor.
    """
    from edgekiln.compiler.onnx_model.feed import feed_for
    from edgekiln.compiler.onnx_model.io import load_model, read_meta

    if len(spec.inputs) != 1 or spec.inputs[0].dtype != "float32":
        raise InputError(
            f"{spec.name} takes {', '.join(f'{s.dtype} {s.name}' for s in spec.inputs)}",
            "verify compares programs with one float32 input",
        )
    shape = spec.inputs[0].shape
    meta = read_meta(load_model(model))
    if data or meta.data:
        feed = feed_for(meta, shape[1:], data=data, seed=seed)
        full = feed.batches(feed.dataset.test, batch=shape[0], samples=samples)
        return [x for x, _ in full if len(x) == shape[0]]
    rng = np.random.default_rng(seed)
    low, high = _range(spec)
    count = max(1, samples // shape[0])
    return [rng.uniform(low, high, shape).astype(np.float32) for _ in range(count)]


def _range(spec: "ProgramSpec") -> tuple[float, float]:
    """What the program's first quantization can represent; ±1 when it has none."""
    for layer in spec.layers:
        out = layer.output
        if layer.op == "quantize" and out and out.scale and out.zero_point is not None:
            low, high = (0, 255) if out.dtype == "uint8" else (-128, 127)
            return (low - out.zero_point) * out.scale, (high - out.zero_point) * out.scale
    return -1.0, 1.0
