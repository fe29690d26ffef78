"""A bundle's example, here: does it compute what it computed where it was packaged?"""

from pathlib import Path

import numpy as np

from edgekiln.runtime.bundle import example_tensor
from edgekiln.runtime.errors import BundleError, MismatchError
from edgekiln.runtime.runner import AotRunner
from edgekiln.runtime.streams import run_steps
from edgekiln.runtime.trust import open_trusted


def check_example(path: Path, *, signers: Path | None = None) -> list[str]:
    """Run a bundle's example; the names of the outputs, all of them equal to the expected ones.

    Raises:
        BundleError: damaged, for another machine, not signed where that is demanded, or without an
            expected output.
        MismatchError: an output differs.
    """
    opened = open_trusted(path, signers)
    runner = AotRunner.of(opened)
    steps = bool(runner.spec.states)
    expected = [
        example_tensor(opened.files, str(path), "output", index, spec, steps=steps)
        for index, spec in enumerate(runner.outputs)
    ]
    inputs = [
        example_tensor(opened.files, str(path), "input", index, spec, steps=steps)
        for index, spec in enumerate(runner.inputs)
    ]
    given = [array for array in inputs if array is not None]
    if len(given) < len(inputs) or any(array is None for array in expected):
        raise BundleError(
            f"{path}: has no example with an expected output",
            hint="package it on a machine that can run it",
        )
    results = run_steps(runner, given) if steps else runner.run(*given)
    for spec, wanted, got in zip(runner.outputs, expected, results, strict=True):
        assert wanted is not None
        theirs, ours = (np.frombuffer(each.tobytes(), np.uint8) for each in (wanted, got))
        differing = int((theirs != ours).sum())
        if differing:
            raise MismatchError(
                f"{path}: output {spec.name!r} differs from the expected one in {differing} of "
                f"{got.nbytes} bytes",
                hint="this CPU computes otherwise than the one it was packaged on: report it",
            )
    return [spec.name for spec in runner.outputs]
