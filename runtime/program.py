"""A compiled program as a function of arrays."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.runtime.bundle import Bundle
from edgekiln.runtime.errors import BundleError, ConfigError, InputError, MismatchError
from edgekiln.runtime.files import written_whole
from edgekiln.runtime.inputs import fit, load_input
from edgekiln.runtime.runner import AotRunner, Runner, check_inputs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekiln.runtime.manifest import TensorSpec


class LoadedProgram:
    """Call it with one array an input: a batch of any size, or one sample without a batch axis."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner

    def __call__(
        self, *arrays: "NDArray[np.generic]"
    ) -> "NDArray[np.generic] | list[NDArray[np.generic]]":
        """The output, or the list of them when the program has several; batch first, as given.

        An input with preprocessing takes uint8 images (N, H, W, C) or the model's own float input.
        The program's batch is fixed: other batches are run in pieces, the last one padded.

        Raises:
            InputError: another number of arrays, shape or dtype than the program's; both are named.
        """
        specs = self.runner.inputs
        if len(arrays) != len(specs):
            check_inputs(arrays, specs)
        batches = [fit(each, spec, "load") for each, spec in zip(arrays, specs, strict=True)]
        results = run_batched(self.runner, batches)
        return results[0] if len(results) == 1 else results


def load(path: str | os.PathLike[str]) -> LoadedProgram:
    """See `edgekiln.runtime.load`."""
    return LoadedProgram(AotRunner.open(Path(path)))


def run_batched(
    runner: Runner, batches: "list[NDArray[np.generic]]"
) -> "list[NDArray[np.generic]]":
    """Run any number of samples through a program of a fixed batch. Outputs are batch first.

    Raises:
        InputError: the inputs have different numbers of samples.
    """
    counts = sorted({len(batch) for batch in batches})
    if len(counts) > 1:
        raise InputError(
            f"the inputs have {' and '.join(map(str, counts))} samples",
            hint="give every input the same number of samples",
        )
    size, total = runner.inputs[0].shape[0], len(batches[0])
    pieces = []
    for start in range(0, total, size):
        chunk = [_padded(batch[start : start + size], size) for batch in batches]
        pieces.append(runner.run(*chunk))
    return [np.concatenate(parts)[:total] for parts in zip(*pieces, strict=True)]


def _padded(chunk: "NDArray[np.generic]", size: int) -> "NDArray[np.generic]":
    """The last chunk, filled up with copies of its last sample."""
    if len(chunk) == size:
        return chunk
    return np.concatenate([chunk, np.repeat(chunk[-1:], size - len(chunk), axis=0)])


def run_files(
    path: Path, inputs: Sequence[Path], outputs: Sequence[Path] = ()
) -> "list[tuple[TensorSpec, NDArray[np.generic]]]":
    """Run a program on input files and write its outputs as .npy files, when given.

    Raises:
        ConfigError: another number of files than the program has inputs or outputs.
        EdgeKilnError: as `AotRunner.open`, `load_input`, `run_batched` and `save`.
    """
    runner = AotRunner.open(path)
    names = ", ".join(spec.name for spec in runner.inputs)
    if len(inputs) != len(runner.inputs):
        raise ConfigError(
            f"{len(inputs)} inputs are given, {path.name} takes {len(runner.inputs)}: {names}",
            hint="give --input once for each",
        )
    if outputs and len(outputs) != len(runner.outputs):
        raise ConfigError(
            f"{len(outputs)} outputs are given, {path.name} has {len(runner.outputs)}",
            hint="give --output once for each, or not at all",
        )
    arrays = [load_input(file, spec) for file, spec in zip(inputs, runner.inputs, strict=True)]
    results = run_batched(runner, arrays)
    for file, result in zip(outputs, results, strict=False):
        save(file, result)
    return list(zip(runner.outputs, results, strict=True))


def check_example(path: Path) -> list[str]:
    """Run a bundle's example; the names of the outputs, all of them equal to the expected ones.

    Raises:
        BundleError: damaged, for another machine, or without an expected output.
        MismatchError: an output differs.
    """
    bundle = Bundle.open(path)
    runner = AotRunner.open(path)
    inputs = [bundle.example("input", i, spec) for i, spec in enumerate(runner.inputs)]
    expected = [bundle.example("output", i, spec) for i, spec in enumerate(runner.outputs)]
    given = [array for array in inputs if array is not None]
    if len(given) < len(inputs) or any(array is None for array in expected):
        raise BundleError(
            f"{path}: has no example with an expected output",
            hint="package it on a machine that can run it",
        )
    for spec, wanted, got in zip(runner.outputs, expected, runner.run(*given), strict=True):
        assert wanted is not None
        differing = int((wanted.view(np.uint8) != got.view(np.uint8)).sum())
        if differing:
            raise MismatchError(
                f"{path}: output {spec.name!r} differs from the expected one in {differing} of "
                f"{got.nbytes} bytes",
                hint="this CPU computes otherwise than the one it was packaged on: report it",
            )
    return [spec.name for spec in runner.outputs]


def save(path: Path, array: "NDArray[np.generic]") -> None:
    """Write a .npy file, whole or not at all. Raises StorageError."""
    with written_whole(path) as stream:
        np.save(stream, array)
