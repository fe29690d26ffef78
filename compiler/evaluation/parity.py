"""How far the steps of a build are apart: PyTorch → float ONNX → int8 ONNX → program."""

import string
from collections.abc import Callable, Collection, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.compiler.evaluation.difference import TensorDifference
from edgekiln.models.spec import split
from edgekiln.runtime import texts
from edgekiln.runtime.errors import ConfigError, InputError
from edgekiln.runtime.home import expanded
from edgekiln.runtime.manifest import TEXT

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekiln.compiler.onnx_model.feed import Feed
    from edgekiln.compiler.onnx_model.model_inputs import Inputs
    from edgekiln.runtime.manifest import ProgramSpec, TensorSpec
    from edgekiln.runtime.runner import AotRunner

RANDOM_STEPS = 16  # of a stream of random numbers, or of samples that are none
_EMPTY = b"\0" + string.whitespace.encode()  # what stands in rows of lines that say nothing

Model = Callable[["Inputs"], "NDArray[np.generic]"]  # its first output


@dataclass(frozen=True, kw_only=True)
class Link:
    """The first outputs of two neighbours on the same inputs."""

    before: str
    after: str
    max_abs: float
    sqnr_db: float | None  # None: identical
    agreement: float  # share of samples with the same largest output


def links(models: Sequence[tuple[str, Model]], batches: "Sequence[Inputs]") -> list[Link]:
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
    from edgekiln.models.module_ends import named_outputs

    module, about = load_module(path, allow)
    module.eval()

    def run(given: "Inputs") -> "NDArray[np.generic]":
        with torch.no_grad():
            outputs = named_outputs(module(*map(torch.from_numpy, given.values())), about.factory)
        result: NDArray[np.generic] = next(iter(outputs.values())).numpy()
        return result

    return run


def onnx_model(path: Path) -> Model:
    """An ONNX file under ONNX Runtime's basic optimisation, batch by batch. Raises InputError."""
    from edgekiln.compiler.onnx_model.io import load_model
    from edgekiln.compiler.onnx_model.stream_session import open_session

    session = open_session(load_model(path), optimize=False)
    return lambda given: session(given)[0]


def program_model(runner: "AotRunner") -> Model:
    """A compiled program; of one with states a batch is a stream from its beginning."""
    from edgekiln.runtime.streams import run_steps

    def run(given: "Inputs") -> "NDArray[np.generic]":
        arrays = [given[each.name] for each in runner.inputs]
        runner.reset()
        return (run_steps(runner, arrays) if runner.spec.states else runner.run(*arrays))[0]

    return run


def batches_for(
    spec: "ProgramSpec", model: Path, *, data: str, seed: int, samples: int, demanded: bool = False
) -> "list[Inputs]":
    """Inputs of the program's shapes: held-out samples when data is known, else random numbers.
    Those of a program with states are a stream each, (T, …).

    Args:
        demanded: whether the user names this data; that of the build need not fit a program that
            takes raw data.

    Raises:
        ConfigError: options of data that the program leaves no room for.
        InputError: data that does not fit, or a program that takes codes of the model's floats.
    """
    from onnx import helper

    from edgekiln.compiler.onnx_model import model_inputs
    from edgekiln.compiler.onnx_model.ends import columns
    from edgekiln.compiler.onnx_model.feed import feed_for
    from edgekiln.compiler.onnx_model.io import load_model, read_meta
    from edgekiln.compiler.onnx_model.samples import own_data
    from edgekiln.runtime.random_inputs import random_input

    loaded = load_model(model)
    types = {
        value.name: np.dtype(helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)).name
        for value in loaded.graph.input
    }
    coded = [e for e in spec.inputs if e.scale is not None and types.get(e.name) == "float32"]
    if coded:
        raise InputError(
            f"{spec.name} takes codes of {', '.join(each.name for each in coded)}",
            "verify compares programs that take what the model takes",
        )
    takes = model_inputs.of_program(spec)
    # Codes that are the model's own, such as pixels, are no real numbers in either.
    own = [replace(each, dtype=types.get(each.name, each.dtype)) for each in takes.inputs]
    takes = replace(takes, inputs=tuple(own))
    assert takes.batch is not None, spec.name  # programs are compiled for one
    meta = read_meta(loaded)
    if lines := _lines_for(spec, data, demanded=demanded):
        return _calls_of_lines(spec.inputs[0], lines, takes.batch, samples)
    if data or own_data(meta):
        # The samples that a network was made for need be no camera frames.
        with suppress(InputError) if meta.before and not demanded else nullcontext():
            try:
                feed = feed_for(meta, takes, data=data, seed=seed)
            except InputError:
                if not meta.decides_alone:
                    raise
                # What the network takes are no streams; it is the decisions that remember.
                single = replace(takes, states=())
                feed = feed_for(meta, single, data=data, seed=seed)
                return _as_streams(_whole_calls(feed, takes.batch, samples))
            return _whole_calls(feed, takes.batch, samples)
    draw = np.random.default_rng(seed)
    low, high = _range(spec)
    steps = min(RANDOM_STEPS, samples) if takes.states else 1
    count = max(1, samples // takes.batch // steps)

    def drawn(each: "TensorSpec") -> "NDArray[np.generic]":
        column = columns.drawn(meta.before, each.name, each.shape, draw)
        if column is not None:
            return column
        if each.dtype == "float32":
            return draw.uniform(low, high, each.shape).astype(np.float32)
        return random_input(each, draw)

    def stream(each: "TensorSpec") -> "NDArray[np.generic]":
        return np.stack([drawn(each) for _ in range(steps)])

    make = stream if takes.states else drawn
    return [{each.name: make(each) for each in spec.inputs} for _ in range(count)]


def _whole_calls(feed: "Feed", batch: int, samples: int) -> "list[Inputs]":
    """Calls of held-out samples, at least one. Raises InputError: there are too few for that."""
    for wanted in (samples, 0):
        calls = feed.batches("test", batch=batch, samples=wanted)
        whole = (given for given in calls if feed.takes.fits(given))
        if found := list(whole if wanted else islice(whole, 1)):
            return found
    raise _too_few(feed.name, batch)


def _lines_for(spec: "ProgramSpec", data: str, *, demanded: bool) -> Path | None:
    """The file of text that data names, where a program takes text itself: it makes the tokens.

    Raises:
        ConfigError: the user says how to make them.
    """
    (first, *others) = spec.inputs
    name, options = split(data)
    path = expanded(name)
    if first.holds != TEXT or others or path.suffix.lower() != texts.TEXT_SUFFIX:
        return None
    if options and demanded:
        raise ConfigError(
            f"{data}: {spec.name} makes the tokens of its texts itself",
            f"name the file alone: --data {name}",
        )
    return None if options else path  # those of a build are the network's, made of tokens


def _calls_of_lines(each: "TensorSpec", path: Path, batch: int, samples: int) -> "list[Inputs]":
    """Calls of lines, at least one. Raises InputError: nothing is in them, or they are too few."""
    rows = texts.read_lines(path, each)
    if not rows.tobytes().translate(None, _EMPTY):
        raise InputError(f"{path}: holds no text", "give a sample a line")
    count = min(max(1, samples // batch), len(rows) // batch)
    if not count:
        raise _too_few(str(path), batch)
    return [{each.name: part} for part in np.split(rows[: count * batch], count)]


def _too_few(name: str, batch: int) -> InputError:
    return InputError(
        f"{name}: the program takes {batch} samples at once, more than are held out",
        "name more data, by --data, or compile for a smaller --batch",
    )


def _as_streams(calls: "Sequence[Inputs]") -> "list[Inputs]":
    """Calls in a row as the steps of streams, (T, …); what is left is none, but of the first."""
    steps = min(RANDOM_STEPS, len(calls))
    starts = range(0, len(calls) - steps + 1, steps) if steps else range(0)
    streams = [calls[start : start + steps] for start in starts]
    return [{key: np.stack([call[key] for call in row]) for key in row[0]} for row in streams]


def _range(spec: "ProgramSpec") -> tuple[float, float]:
    """What the program's first quantization can represent; ±1 when it has none."""
    for layer in spec.layers:
        out = layer.output
        if layer.op == "quantize" and out and out.scale and out.zero_point is not None:
            codes = np.iinfo(out.dtype)
            ends = (code - out.zero_point for code in (codes.min, codes.max))
            low, high = (steps * out.scale for steps in ends)
            return low, high
    return -1.0, 1.0
