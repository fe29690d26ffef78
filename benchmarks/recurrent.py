"""LSTM and GRU layers beside ONNX Runtime's, float and dynamically quantized, on one thread.

    python -m edgekiln.benchmarks.recurrent [TARGET] > recurrent.md

Each layer has random weights and is quantized on random sequences, so that the SQNR says what eight
bits cost a layer, not a task. Times are the least of many calls from Python, all engines in turn.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.compiler.build.resolve import kind_of
from edgekiln.compiler.onnx_model import io
from edgekiln.compiler.pipeline.artifact import Artifact
from edgekiln.compiler.pipeline.stage import StageContext
from edgekiln.compiler.stages.compile import CompileStage
from edgekiln.compiler.stages.quantize import QuantizeStage
from edgekiln.runtime.runner import AotRunner
from edgekiln.targets import profile

if TYPE_CHECKING:
    import onnx
    import onnxruntime

_ROUNDS, _CALLS = 30, 5
_SEQUENCES = 32


@dataclass(frozen=True, kw_only=True)
class RecurrentCase:
    """A layer; `length` steps of `features` values."""

    op: str
    length: int
    features: int
    width: int
    directions: int = 1

    @property
    def label(self) -> str:
        """What people call it."""
        both = ", both ways" if self.directions > 1 else ""
        return f"{self.op} {self.features}→{self.width}{both}, {self.length} steps"

    def model(self) -> "onnx.ModelProto":
        """The float model."""
        import onnx

        draw, gates = np.random.default_rng(0), 4 if self.op == "LSTM" else 3
        rows = gates * self.width
        arrays = {
            "w": draw.normal(0, self.features**-0.5, (self.directions, rows, self.features)),
            "r": draw.normal(0, self.width**-0.5, (self.directions, rows, self.width)),
            "b": draw.normal(0, 0.3, (self.directions, 2 * rows)),
        }
        helper, f32 = onnx.helper, onnx.TensorProto.FLOAT
        layer = helper.make_node(self.op, ["t", "w", "r", "b"], ["y"], hidden_size=self.width)
        if self.op == "GRU":
            layer.attribute.append(helper.make_attribute("linear_before_reset", 1))
        if self.directions > 1:
            layer.attribute.append(helper.make_attribute("direction", "bidirectional"))
        turned = helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0, 2])
        shapes = {
            "x": [1, self.length, self.features], "y": [self.length, self.directions, 1, self.width]
        }  # fmt: skip
        ends = {name: helper.make_tensor_value_info(name, f32, s) for name, s in shapes.items()}
        weights = [
            onnx.numpy_helper.from_array(value.astype(np.float32), name)
            for name, value in arrays.items()
        ]
        graph = helper.make_graph([turned, layer], "layer", [ends["x"]], [ends["y"]], weights)
        opset = helper.make_opsetid("", 20)
        return helper.make_model(graph, opset_imports=[opset], ir_version=10)


CASES = (
    RecurrentCase(op="LSTM", length=1, features=128, width=128),
    RecurrentCase(op="LSTM", length=100, features=40, width=64),
    RecurrentCase(op="LSTM", length=100, features=128, width=128),
    RecurrentCase(op="LSTM", length=50, features=128, width=256, directions=2),
    RecurrentCase(op="GRU", length=100, features=40, width=64),
    RecurrentCase(op="GRU", length=100, features=128, width=128),
)


def main() -> None:
    """Measure all cases and print the table."""
    target = sys.argv[1] if len(sys.argv) > 1 else "host"
    print("| layer | SQNR | ours int8 µs | ours float µs | ONNX Runtime float | dynamic int8 |")
    print("|---|---:|---:|---:|---:|---:|")
    for case in CASES:
        with tempfile.TemporaryDirectory(prefix="edgekiln-recurrent-") as folder:
            print(row(case, Path(folder), target), flush=True)


def row(case: RecurrentCase, folder: Path, target: str) -> str:
    """Build, measure, and write the line of a case."""
    from onnxruntime.quantization import quantize_dynamic

    source, coded, dynamic = (folder / f"{name}.onnx" for name in ("float", "int8", "dynamic"))
    io.save_model(case.model(), source)
    draw = np.random.default_rng(1)
    shape = (_SEQUENCES, case.length, case.features)
    samples = draw.normal(size=shape).astype(np.float32)
    np.save(folder / "data.npy", samples)
    context = StageContext(target=profile.load(target), scratch=folder)
    stage = QuantizeStage(data=str(folder / "data.npy"), samples=_SEQUENCES)
    metrics = stage.run(Artifact.of_file(source, "onnx"), coded, context)
    quantize_dynamic(source, dynamic)
    programs = []
    for model in (coded, source):
        artifact = Artifact.of_file(model, kind_of(model))
        CompileStage().run(artifact, model.with_suffix(".lib"), context)
        programs.append(AotRunner.open(model.with_suffix(".lib")))
    x = samples[:1]
    calls: list[Callable[[], object]] = [partial(program.run, x) for program in programs]
    sessions = [_session(path) for path in (source, dynamic)]
    calls += [partial(session.run, None, {"x": x}) for session in sessions]
    micros = [f"{1e6 * seconds:,.0f}" for seconds in _least(calls)]
    return f"| {case.label} | {metrics['sqnr_db']:.1f} dB | {' | '.join(micros)} |"


def _session(path: Path) -> "onnxruntime.InferenceSession":
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _least(calls: list[Callable[[], object]]) -> list[float]:
    """The least seconds of each, in turn."""
    least = [float("inf")] * len(calls)
    for _ in range(_ROUNDS):
        for place, call in enumerate(calls):
            start = time.perf_counter()
            for _ in range(_CALLS):
                call()
            least[place] = min(least[place], (time.perf_counter() - start) / _CALLS)
    return least


if __name__ == "__main__":
    main()
