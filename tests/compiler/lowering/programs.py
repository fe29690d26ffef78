"""Small models compiled, and what ONNX Runtime computes for them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from edgekiln.compiler.pipeline.stage import StageContext
from edgekiln.compiler.stages.compile import CompileStage
from edgekiln.runtime.runner import AotRunner
from edgekiln.targets import profile
from tests.compiler import artifacts, float_models

TARGET = profile.load("x86-64-v3")


def program(model: Path) -> AotRunner:
    out = model.with_suffix(".lib")
    CompileStage().run(artifacts.of(model), out, StageContext(target=TARGET, scratch=model.parent))
    return AotRunner.open(out)


def ours(model: Path, *arrays: np.ndarray) -> Sequence[np.ndarray]:
    return program(model).run(*arrays)


def reference(model: Path, *arrays: np.ndarray) -> list[np.ndarray]:
    """ONNX Runtime's results, with each operator by itself."""
    options = onnxruntime.SessionOptions()
    level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.graph_optimization_level = level
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    return list(session.run(None, dict(zip(names, arrays, strict=True))))


def images(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 3, shape).astype(np.float32)


def parsed(tmp_path: Path, text: str, opset: int = 17, **constants: np.ndarray) -> Path:
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}]>\n{text}')
    for name, value in constants.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(value), name))
    return float_models.write(model, tmp_path / "m.onnx")
