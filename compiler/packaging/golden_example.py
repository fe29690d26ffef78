"""The example a bundle carries: inputs, what the program makes of them, where they are from."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.runtime.errors import BundleError, InputError, MissingToolError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekiln.runtime.manifest import ProgramSpec, TensorSpec


@dataclass(frozen=True, kw_only=True, eq=False)
class Example:
    """`spec` is the program's, with what the data set adds to it: preprocessing and labels."""

    spec: "ProgramSpec"
    inputs: "tuple[NDArray[np.generic], ...]"
    origin: str


def random_example(spec: "ProgramSpec", seed: int) -> Example:
    """Standard normal numbers, or any of an integer input's."""
    draw = np.random.default_rng(seed)
    inputs = tuple(_random(tensor, draw) for tensor in spec.inputs)
    return Example(spec=spec, inputs=inputs, origin=f"random, seed {seed}")


def data_example(spec: "ProgramSpec", data: str, seed: int) -> Example:
    """The first test samples of a data set, as many as the program takes at once.

    Raises:
        InputError: the data does not fit the program, or the program has several inputs.
    """
    from edgekiln.compiler.onnx_model.feed import feed_for
    from edgekiln.compiler.onnx_model.io import Meta
    from edgekiln.runtime.inputs import quantize

    if len(spec.inputs) != 1:
        raise InputError(
            f"data {data!r} fills one input, {spec.name} has {len(spec.inputs)}",
            hint="leave --data away: the example is then made of random numbers",
        )
    (given,) = spec.inputs
    batch, *shape = given.shape
    feed = feed_for(Meta(preprocessing=given.preprocessing), tuple(shape), data=data, seed=seed)
    samples, _ = next(feed.batches(feed.dataset.test, batch=batch))
    if len(samples) != batch:
        raise InputError(
            f"{data}: {len(samples)} test samples, the program takes {batch} at once",
            hint="give more data, or build with a smaller --batch",
        )
    first, *others = spec.outputs
    if feed.dataset.task == "classification" and first.shape[1:] == (len(feed.dataset.classes),):
        first = replace(first, labels=first.labels or feed.dataset.classes)
    known = replace(
        spec,
        inputs=(replace(given, preprocessing=feed.preprocessing),),
        outputs=(first, *others),
    )
    origin = f"first test sample of {data}, seed {seed}"
    return Example(spec=known, inputs=(quantize(samples, given),), origin=origin)


def expected_outputs(
    example: Example, files: Mapping[str, bytes]
) -> "tuple[list[NDArray[np.generic]], str]":
    """What the program of `files` computes, here or under QEMU; or nothing, and why."""
    from edgekiln.runtime.bundle import LIBRARY, executable_name
    from edgekiln.runtime.runner import AotRunner, check_machine

    spec = example.spec
    try:
        check_machine(spec, spec.name)
    except BundleError as error:
        outputs = _emulated(example, files[executable_name(files, spec.name)])
        return outputs, "" if outputs else error.message
    return AotRunner(spec, files[LIBRARY], spec.name).run(*example.inputs), ""


def _emulated(example: Example, runner: bytes) -> "list[NDArray[np.generic]]":
    """What the executable computes under QEMU; nothing where that cannot run it."""
    from edgekiln.compiler.devices.emulated import predict

    try:
        return predict(example.spec, runner, example.inputs)
    except (BundleError, MissingToolError):
        return []


def _random(spec: "TensorSpec", draw: np.random.Generator) -> "NDArray[np.generic]":
    dtype = np.dtype(spec.dtype)
    if dtype.kind == "f":
        return draw.standard_normal(spec.shape).astype(dtype)
    limits = np.iinfo(dtype)
    return draw.integers(limits.min, limits.max, spec.shape, dtype, endpoint=True)
