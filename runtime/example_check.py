"""A bundle's example, here: does it compute what it computed where it was packaged?"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.runtime.bundle import example_tensor
from edgekiln.runtime.errors import BundleError, MismatchError
from edgekiln.runtime.manifest import ProgramSpec
from edgekiln.runtime.runner import AotRunner
from edgekiln.runtime.streams import run_steps
from edgekiln.runtime.trust import open_trusted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


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
    inputs = [
        example_tensor(opened.files, str(path), "input", index, spec, steps=steps)
        for index, spec in enumerate(runner.inputs)
    ]
    given = [array for array in inputs if array is not None]
    for point in range(len(opened.spec.every_point)):
        runner.set_point(point)
        expected = [
            example_tensor(opened.files, str(path), "output", i, spec, steps=steps, point=point)
            for i, spec in enumerate(runner.outputs)
        ]
        wanted = [array for array in expected if array is not None]
        if len(given) < len(inputs) or len(wanted) < len(expected):
            raise BundleError(
                f"{path}: has no example with an expected output",
                hint="package it on a machine that can run it",
            )
        results = run_steps(runner, given) if steps else runner.run(*given)
        _compare(str(path), runner.spec, wanted, results)
    return [spec.name for spec in runner.outputs]


def _compare(
    where: str,
    spec: ProgramSpec,
    expected: "Sequence[NDArray[np.generic]]",
    results: "Sequence[NDArray[np.generic]]",
) -> None:
    """Raises MismatchError naming the first output that differs."""
    at = f" at point {spec.point}" if spec.point else ""
    for tensor, wanted, got in zip(spec.outputs, expected, results, strict=True):
        theirs, ours = (np.frombuffer(each.tobytes(), np.uint8) for each in (wanted, got))
        differing = int((theirs != ours).sum())
        if differing:
            raise MismatchError(
                f"{where}: output {tensor.name!r} differs from the expected one{at} in {differing} "
                f"of {got.nbytes} bytes",
                hint="this CPU computes otherwise than the one it was packaged on: report it",
            )
