"""`python -m edgekiln.benchmarks.tflite`: TFLite's operators and files against LiteRT's kernels."""

from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from edgekiln.benchmarks.tflite.compare import MOST, Array, LitertComparison, compare
from edgekiln.benchmarks.tflite.network import network
from edgekiln.benchmarks.tflite.operators import CASES
from edgekiln.benchmarks.tflite.writer import unsigned
from edgekiln.compiler.onnx_model.tflite.model import TfliteTensor, parse

_SEEDS = 20  # models of each operator


@click.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path, exists=True))
@click.option("--calls", default=200, show_default=True, help="Run each file on so many inputs.")
@click.option("--programs/--no-programs", default=True, help="Compile programs, too.")
@click.option("--operators/--no-operators", default=True, help="Show every operator.")
def main(files: tuple[Path, ...], calls: int, programs: bool, operators: bool) -> None:
    """Print a table: values that differ from LiteRT's reference kernels, of the ONNX form and of
    the program for this machine, on random inputs.
    """
    click.echo("| model | calls | values | distinct | ONNX form differs | program differs |")
    click.echo("|---|---:|---:|---:|---:|---:|")
    for each in _comparisons(files, calls, programs=programs, operators=operators):
        program = "-" if each.program is None else str(each.program)
        click.echo(
            f"| {each.name} | {each.calls} | {each.values} | {each.distinct} | {each.onnx} | "
            f"{program} |"
        )


def _comparisons(
    files: tuple[Path, ...], calls: int, *, programs: bool, operators: bool
) -> Iterator[LitertComparison]:
    for path in files:
        yield compare(path.name, path.read_bytes(), _inputs(path, calls), compiled=programs)
    for name, make in (("a network", network), *CASES.items()) if operators else ():
        found = []
        for seed in range(_SEEDS):
            case = make(np.random.default_rng(seed))
            # One program an operator: they share their code, and each takes seconds.
            found.append(compare(name, case.file, [case.inputs], compiled=programs and not seed))
        yield LitertComparison(
            name=name,
            calls=_SEEDS,
            values=sum(each.values for each in found),
            onnx=sum(each.onnx for each in found),
            program=found[0].program,
            distinct=max(each.distinct for each in found),
        )


def _inputs(path: Path, calls: int) -> list[list[Array]]:
    """Random ones: noise, and noise around a level that wanders."""
    model = parse(path.read_bytes(), str(path), MOST).graphs[0]
    rng = np.random.default_rng(0)
    tensors = [model.tensors[number] for number in model.inputs]
    made: list[list[Array]] = []
    for call in range(calls):
        level = 60 * np.sin(call / 7) - 60
        noise = (rng.normal(level if call % 2 else 0, 40, tensor.shape) for tensor in tensors)
        made.append(
            [
                _codes(value, tensor) if tensor.dtype == "int8" else (value / 64).astype(np.float32)
                for value, tensor in zip(noise, tensors, strict=True)
            ]
        )
    return made


def _codes(value: NDArray[np.floating], tensor: TfliteTensor) -> Array:
    codes = value.round().clip(-128, 127).astype(np.int8)
    return unsigned(codes) if tensor.unsigned else codes


if __name__ == "__main__":
    main()
