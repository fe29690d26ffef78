"""A compiled program as a function of arrays."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar

import numpy as np

from edgekiln.runtime.errors import ConfigError, InputError
from edgekiln.runtime.inputs import fit
from edgekiln.runtime.manifest import of_steps
from edgekiln.runtime.points import names
from edgekiln.runtime.runner import AotRunner, Runner
from edgekiln.runtime.streams import run_steps, without_one

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekiln.runtime.manifest import StateSpec, TensorSpec


# What an input is given: numbers, or text.
Given: TypeAlias = "NDArray[np.generic] | str | bytes | Sequence[str]"


class LoadedProgram:
    """Call it with one array an input, in the program's order or by the inputs' names; threads and
    forked children may call it, too.

    Where the first axes of all inputs and outputs have one extent, that is the batch: then any
    number of samples is taken, or one without a batch axis. Of other programs every array has
    exactly the program's own shape.

    A program that remembers, `states`, makes one step of its stream a call: arrays have exactly its
    own shape, and threads that call it take turns in the same stream. `reset` begins a new one,
    `stream` gives another one beside it.
    """

    def __init__(self, runner: Runner) -> None:
        self.runner = runner

    @property
    def states(self) -> "tuple[StateSpec, ...]":
        """What it remembers from one call to the next."""
        return self.runner.spec.states if isinstance(self.runner, AotRunner) else ()

    def reset(self) -> None:
        """Begin a new stream: what it remembers is zero again. Nothing, if it has no states."""
        if isinstance(self.runner, AotRunner):
            self.runner.reset()

    def stream(self) -> "LoadedProgram":
        """The same program with a memory of its own: a stream that knows nothing of this one."""
        return LoadedProgram(
            self.runner.stream() if isinstance(self.runner, AotRunner) else self.runner
        )

    @property
    def points(self) -> tuple[str, ...]:
        """The names of its operating points, the first of which runs until another one is chosen;
        none of a program that has but one.
        """
        return names(self.runner.whole) if isinstance(self.runner, AotRunner) else ()

    def set_point(self, point: int | str) -> None:
        """Choose the operating point of the calls that follow, by number or name. It costs a store
        to memory; nothing is loaded.

        Raises:
            ConfigError: there is no such point.
        """
        if isinstance(self.runner, AotRunner):
            self.runner.set_point(point)
        elif str(point) != "0":
            raise ConfigError(f"no point {point!r}", hint="only compiled programs have several")

    @property
    def inputs(self) -> "tuple[TensorSpec, ...]":
        """What it takes: the name, shape and dtype of each input."""
        return self.runner.inputs

    @property
    def outputs(self) -> "tuple[TensorSpec, ...]":
        """What it gives."""
        return self.runner.outputs

    def __call__(
        self, *arrays: "Given", **named: "Given"
    ) -> "NDArray[np.generic] | list[NDArray[np.generic]]":
        """The output, or the list of them when the program has several.

        `net(x, mask=m)` is `net(x, m)` where `mask` is the second input; names that are no
        identifiers of Python are given as `net(**{"a.b": x})`.

        An input with preprocessing takes uint8 images (N, H, W, C) or the model's own float input;
        one that is text takes a `str`, or a list of them.
        The program's batch is fixed: other batches are run in pieces, the last one padded.

        Raises:
            InputError: an input is missing, unknown or given twice, or of another shape or dtype
                than the program's; both are named.
        """
        specs = self.runner.inputs
        ordered = by_name(dict(named), arrays, specs)
        batched = batch_of(self.runner) is not None and not self.states
        given = [
            fit(np.asarray(each), spec, "load", batched=batched)
            for each, spec in zip(ordered, specs, strict=True)
        ]
        results = self.runner.run(*given) if self.states else run_batched(self.runner, given)
        return results[0] if len(results) == 1 else results

    def steps(
        self, *arrays: "NDArray[np.generic]", **named: "NDArray[np.generic]"
    ) -> "list[NDArray[np.generic]]":
        """Go on with the stream by many steps; the outputs of all of them.

        Arrays are (T, …) for T steps of the program's own shape, whose first axis, where it has one
        item, may be left out.

        Raises:
            InputError: as a call, or the inputs have different numbers of steps.
        """
        specs = self.runner.inputs
        ordered = by_name(dict(named), arrays, specs)
        given = [
            fit(without_one(np.asarray(each), spec), of_steps(spec), "steps")
            for each, spec in zip(ordered, specs, strict=True)
        ]
        return run_steps(self.runner, given)


T = TypeVar("T")


def by_name(
    named: Mapping[str, T], listed: Sequence[T], specs: "tuple[TensorSpec, ...]"
) -> list[T]:
    """What is given for each input, in the program's order: by its name, else the next one listed.

    Raises:
        InputError: an input is missing, unknown or given twice; the message tells all inputs.
    """
    hint = f"its inputs are: {described(specs)}"
    known = [spec.name for spec in specs]
    if unknown := [name for name in named if name not in known]:
        raise InputError(f"the model has no input {unknown[0]!r}", hint=hint)
    if len(listed) + len(named) != len(specs):
        missing = [name for name in known[len(listed) :] if name not in named]
        lacking = f"; {', '.join(missing)} missing" if missing else ""
        raise InputError(
            f"{len(listed) + len(named)} arrays given, the model has {len(specs)} inputs{lacking}",
            hint=hint,
        )
    for spec in specs[: len(listed)]:
        if spec.name in named:
            raise InputError(f"input {spec.name!r} is given twice", hint=hint)
    return [*listed, *(named[name] for name in known[len(listed) :])]


def described(specs: "Sequence[TensorSpec]") -> str:
    """ "tokens int64 (1, 128), mask bool (1, 128)"."""
    return ", ".join(f"{spec.name} {spec.dtype} {spec.shape}" for spec in specs)


def load(
    path: str | os.PathLike[str], *, signers: str | os.PathLike[str] | None = None
) -> LoadedProgram:
    """See `edgekiln.runtime.load`."""
    return LoadedProgram(AotRunner.open(Path(path), Path(signers) if signers else None))


class TakesTensors(Protocol):
    """What takes and gives tensors: a runner, a program's description."""

    @property
    def inputs(self) -> "tuple[TensorSpec, ...]":
        """What it takes, in order."""
        ...

    @property
    def outputs(self) -> "tuple[TensorSpec, ...]":
        """What it gives, in order."""
        ...


def batch_of(program: TakesTensors) -> int | None:
    """Samples of one inference: what the first axes of all inputs and outputs have in common.

    None where they have no such axis, or others: then no axis is known to be the samples'.
    """
    extents = {spec.shape[:1] for spec in (*program.inputs, *program.outputs)}
    if not program.inputs or len(extents) != 1:
        return None
    (shared,) = extents
    return shared[0] if shared else None


def dequantized(codes: "NDArray[np.generic]", spec: "TensorSpec") -> "NDArray[np.generic]":
    """The real values of an output; one that is no codes as it is."""
    if spec.scale is None:
        return codes
    shifted = codes.astype(np.float32) - np.float32(spec.zero_point or 0)
    return shifted * np.float32(spec.scale)


def run_batched(runner: Runner, given: "list[NDArray[np.generic]]") -> "list[NDArray[np.generic]]":
    """One inference, or, of a program with a batch, as many as the samples need.

    Args:
        given: as `fit` makes them.

    Raises:
        InputError: the inputs have different numbers of samples.
    """
    size = batch_of(runner)
    if size is None:
        return runner.run(*given)
    counts = sorted({len(batch) for batch in given})
    if len(counts) > 1:
        raise InputError(
            f"the inputs have {' and '.join(map(str, counts))} samples",
            hint="give every input the same number of samples",
        )
    total = len(given[0])
    # A program has one batch: what is more goes through it in turn, what is less is filled up.
    pieces = []
    for start in range(0, total, size):
        chunk = [_padded(batch[start : start + size], size) for batch in given]
        pieces.append(runner.run(*chunk))
    return [np.concatenate(parts)[:total] for parts in zip(*pieces, strict=True)]


def _padded(chunk: "NDArray[np.generic]", size: int) -> "NDArray[np.generic]":
    """The last chunk, filled up with copies of its last sample."""
    if len(chunk) == size:
        return chunk
    return np.concatenate([chunk, np.repeat(chunk[-1:], size - len(chunk), axis=0)])
