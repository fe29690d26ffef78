"""The example a bundle carries: inputs, what the program makes of them, where they are from."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.runtime.errors import BundleError, DeviceError, InputError, MissingToolError
from edgekiln.runtime.inputs import coded
from edgekiln.runtime.random_inputs import random_input

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekiln.runtime.manifest import ProgramSpec


STEPS = 8  # of a stream: enough to see that the program remembers


@dataclass(frozen=True, kw_only=True, eq=False)
class Example:
    """`spec` is the program's, with what the data set adds to it: preprocessing and labels."""

    spec: "ProgramSpec"
    inputs: "tuple[NDArray[np.generic], ...]"
    origin: str


def random_example(spec: "ProgramSpec", seed: int) -> Example:
    """Standard normal numbers, or any of an integer input's; several steps of a stream."""
    draw = np.random.default_rng(seed)
    steps = [
        [random_input(tensor, draw) for tensor in spec.inputs]
        for _ in range(STEPS if spec.states else 1)
    ]
    inputs = tuple(np.stack(each) if spec.states else each[0] for each in zip(*steps, strict=True))
    return Example(spec=spec, inputs=inputs, origin=f"random, seed {seed}")


def data_example(spec: "ProgramSpec", data: str, seed: int) -> Example:
    """The first test samples of a data set, as many as the program takes at once.

    Raises:
        InputError: the data does not fit the program.
    """
    from edgekiln.compiler.onnx_model import model_inputs
    from edgekiln.compiler.onnx_model.feed import feed_for
    from edgekiln.compiler.onnx_model.io import Meta
    from edgekiln.compiler.onnx_model.samples import check_are_raw
    from edgekiln.runtime.manifest import ID, VALUE

    check_are_raw(data, columns=any(each.holds in (VALUE, ID) for each in spec.inputs))
    takes = model_inputs.of_program(spec)
    assert takes.batch is not None, spec.name  # programs are compiled for one
    first, *others = spec.inputs
    feed = feed_for(Meta(preprocessing=first.preprocessing), takes, data=data, seed=seed)
    given = next(feed.batches("test", batch=takes.batch))
    if spec.states:
        given = {name: array[:STEPS] for name, array in given.items()}
    if not takes.fits(given):
        raise InputError(
            f"{data}: {takes.samples_in(given)} test samples, the program takes {takes.batch} "
            "at once",
            hint="give more data, or build with a smaller --batch",
        )
    result, *more = spec.outputs
    if feed.task == "classification" and result.shape[1:] == (len(feed.classes),):
        result = replace(result, labels=result.labels or feed.classes)
    known = replace(
        spec,
        inputs=(replace(first, preprocessing=first.preprocessing or feed.preprocessing), *others),
        outputs=(result, *more),
    )
    inputs = tuple(coded(given[tensor.name], tensor) for tensor in spec.inputs)
    return Example(spec=known, inputs=inputs, origin=f"first test sample of {data}, seed {seed}")


def expected_outputs(
    example: Example, files: Mapping[str, bytes]
) -> "tuple[list[list[NDArray[np.generic]]], str]":
    """What each point of the program computes, here or under QEMU; or nothing, and why."""
    from edgekiln.runtime.bundle import LIBRARY, executable_name
    from edgekiln.runtime.runner import AotRunner, check_machine
    from edgekiln.runtime.streams import run_steps

    spec = example.spec
    try:
        check_machine(spec, spec.name)
    except BundleError as error:
        by_point = _emulated(example, files[executable_name(files, spec.name)])
        return by_point, "" if by_point else error.message
    runner = AotRunner(spec, files[LIBRARY], spec.name)
    inputs = example.inputs
    by_point = []
    try:
        if spec.states:
            return [run_steps(runner, inputs)], ""
        for point in range(len(spec.every_point)):
            runner.set_point(point)
            by_point.append(runner.run(*inputs))
    except (MissingToolError, DeviceError) as error:
        if isinstance(error, DeviceError) and not error.is_absent:
            raise
        return [], error.message  # a GPU's program, and no GPU or no driver is here
    return by_point, ""


def _emulated(example: Example, runner: bytes) -> "list[list[NDArray[np.generic]]]":
    """What each point computes under QEMU; nothing where that cannot run it."""
    from edgekiln.compiler.devices.emulated import predict

    try:
        return [
            predict(example.spec, runner, example.inputs, point)
            for point in range(len(example.spec.every_point))
        ]
    except (BundleError, MissingToolError):
        return []
