"""A TFLite model, its ONNX form on ONNX Runtime and its program, against LiteRT's kernels."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekiln.benchmarks.tflite import litert
from edgekiln.compiler.onnx_model import io
from edgekiln.compiler.onnx_model.session import Session
from edgekiln.compiler.onnx_model.tflite.model import parse
from edgekiln.compiler.pipeline.artifact import Artifact
from edgekiln.compiler.pipeline.stage import StageContext
from edgekiln.compiler.stages.compile import CompileStage
from edgekiln.runtime.runner import AotRunner
from edgekiln.targets import profile

Array = NDArray[np.generic]
_NEXT = ".next"
_LEAST = -128
MOST = 1 << 28  # elements of a tensor


@dataclass(frozen=True, kw_only=True)
class LitertComparison:
    """How many values there were, and how many of them differ from LiteRT's."""

    name: str
    calls: int
    values: int
    onnx: int
    program: int | None  # None: none was made
    distinct: int  # of LiteRT's values: a stream that always says the same proves little


def compare(
    name: str, file: bytes, calls: Sequence[Sequence[Array]], *, compiled: bool
) -> LitertComparison:
    """Compute several calls, one after the other, in each way.

    Args:
        calls: the model's inputs, without variables.
        compiled: whether a program is made, too: seconds.
    """
    expected = litert.stream(file, calls, _next_values(file))
    with tempfile.TemporaryDirectory(prefix="edgekiln-tflite-") as folder:
        path = Path(folder, "model.tflite")
        path.write_bytes(file)
        model = io.load_model(path)
        session = Session(model, optimize=False)
        names = [value.name for value in model.graph.input]
        results = [value.name for value in model.graph.output]
        shapes = {
            value.name: tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
            for value in model.graph.input
        }
        variables = [each for each in names if f"{each}{_NEXT}" in results]
        first = {each: np.full(shapes[each], _LEAST, np.int8) for each in variables}
        steps = _FedBack(names, results, first)
        onnx = steps.differing(session, calls, expected)
        program = None
        if compiled:
            whole = Path(folder, "model.onnx")
            io.save_model(model, whole)
            runner = AotRunner.open(_compile(whole))
            program = steps.differing(
                lambda given: runner.run(*(given[each] for each in names)), calls, expected
            )
    flat = [np.ravel(value) for call in expected for value in call]
    return LitertComparison(
        name=name, calls=len(calls), values=sum(each.size for each in flat), onnx=onnx,
        program=program, distinct=np.unique(np.concatenate(flat)).size,
    )  # fmt: skip


@dataclass(frozen=True)
class _FedBack:
    """Calls whose variables are fed back."""

    names: Sequence[str]
    results: Sequence[str]
    first: dict[str, Array]  # what variables begin with

    def differing(
        self, run: Callable[[dict[str, Array]], Sequence[Array]],
        calls: Sequence[Sequence[Array]], expected: Sequence[Sequence[Array]],
    ) -> int:  # fmt: skip
        """How many values are not as expected."""
        state, count = dict(self.first), 0
        plain = [name for name in self.names if name not in self.first]
        for inputs, wanted in zip(calls, expected, strict=True):
            given = dict(zip(plain, inputs, strict=True)) | state
            found = dict(zip(self.results, run(given), strict=True))
            state = {name: found[f"{name}{_NEXT}"] for name in self.first}
            for name, value in zip(self.results, wanted, strict=True):
                ours = found[name]
                same = ours.shape == value.shape and ours.dtype == value.dtype
                count += int((ours != value).sum()) if same else value.size
        return count


def _next_values(file: bytes) -> list[int]:
    """The tensors that are assigned to variables, the last one of each, in order."""
    found: dict[int, int] = {}
    for operator in parse(file, "the model", MOST).graphs[0].operators:
        if operator.name == "ASSIGN_VARIABLE":
            variable, value = operator.inputs
            found[variable] = value
    return list(found.values())


def _compile(model: Path) -> Path:
    out = model.with_suffix(".lib")
    target = profile.load("host")
    context = StageContext(target=target, scratch=model.parent)
    CompileStage().run(Artifact.of_file(model, "onnx-int8"), out, context)
    return out
