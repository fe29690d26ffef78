"""A compiled program on files: what `run` does."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.runtime.errors import ConfigError, InputError
from edgekiln.runtime.files import written_whole
from edgekiln.runtime.inputs import fit, load_input
from edgekiln.runtime.manifest import TEXT, of_steps
from edgekiln.runtime.program import batch_of, by_name, described, run_batched
from edgekiln.runtime.runner import AotRunner
from edgekiln.runtime.streams import run_steps

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekiln.runtime.manifest import TensorSpec


def run_files(
    path: Path,
    inputs: Sequence[str],
    outputs: Sequence[Path] = (),
    *,
    signers: Path | None = None,
    point: str = "",
    texts: Sequence[str] = (),
) -> "list[tuple[TensorSpec, NDArray[np.generic]]]":
    """Run a program on input files and write its outputs as .npy files, when given.

    The files of a program with states hold the steps of one stream, from its beginning.

    Args:
        point: the operating point, by name or number; the first if not said.
        inputs: "FILE" or "NAME=FILE"; one .npz of several arrays is for all inputs of those names.
        texts: samples of the input that is text, in the place of a file.

    Raises:
        ConfigError: no input, or another number of outputs than the program has.
        InputError: an input is missing, unknown or given twice.
        EdgeKilnError: as `AotRunner.open`, `load_input`, `run_batched` and `save`.
    """
    if not inputs and not texts:
        raise ConfigError("run: no input is given", hint="add --input FILE, or --text TEXT")
    runner = AotRunner.open(path, signers)
    runner.set_point(point or 0)
    takers = _text_takers(runner.inputs) if texts else ()
    others = tuple(spec for spec in runner.inputs if spec not in takers)
    if inputs and not others:
        raise ConfigError(
            "--input beside --text: text is all that the program takes",
            hint="give all texts by --text, or as the lines of --input FILE.txt",
        )
    files = _files_of(inputs, others)
    if outputs and len(outputs) != len(runner.outputs):
        raise ConfigError(
            f"{len(outputs)} outputs are given, {path.name} has {len(runner.outputs)}",
            hint="give --output once for each, or not at all",
        )
    streamed = bool(runner.spec.states)
    batched = batch_of(runner) is not None
    remaining = iter(files)
    arrays = [
        fit(np.asarray(texts), spec, "--text", batched=batched)
        if spec in takers
        else load_input(
            next(remaining), of_steps(spec) if streamed else spec, batched=streamed or batched
        )
        for spec in runner.inputs
    ]
    results = run_steps(runner, arrays) if streamed else run_batched(runner, arrays)
    for file, result in zip(outputs, results, strict=False):
        save(file, result)
    return list(zip(runner.outputs, results, strict=True))


def _text_takers(specs: "tuple[TensorSpec, ...]") -> "tuple[TensorSpec, ...]":
    """The one input that is text. Raises InputError."""
    found = tuple(spec for spec in specs if spec.holds == TEXT)
    if not found:
        raise InputError(
            "--text: the program takes no text",
            hint=f"build it with --before wordpiece=… or bpe=…; its inputs are: {described(specs)}",
        )
    return found


def _files_of(inputs: Sequence[str], specs: "tuple[TensorSpec, ...]") -> list[Path]:
    """The file of each input."""
    listed: list[Path] = []
    named: dict[str, Path] = {}
    for text in inputs:
        name, equals, file = text.partition("=")
        # A file whose own name has "=" in it is a file.
        if not equals or Path(text).exists():
            listed.append(Path(text))
        elif name in named:
            raise InputError(f"input {name!r} is given twice", hint="give --input once for each")
        else:
            named[name] = Path(file)
    if len(specs) > 1 and len(listed) == 1 and not named and listed[0].suffix == ".npz":
        return listed * len(specs)  # each input takes the array of its name
    return by_name(named, listed, specs)


def save(path: Path, array: "NDArray[np.generic]") -> None:
    """Write a .npy file, whole or not at all. Raises StorageError."""
    with written_whole(path) as stream:
        np.save(stream, array)
