"""Decisions that do not flutter: what a model remembers for them, and what is refused."""

from pathlib import Path

import numpy as np
import pytest

from edgekiln.compiler.onnx_model import io
from edgekiln.compiler.onnx_model.ends.attach import attach
from edgekiln.compiler.onnx_model.stream_session import open_session
from edgekiln.compiler.stages.attach import AttachStage
from edgekiln.runtime.errors import ConfigError
from tests.compiler.onnx_model.ends.test_attach import attached
from tests.compiler.onnx_model.ends.test_ctc import recognizer


@pytest.mark.parametrize("batch", [1, 2, "N"])
def test_a_model_becomes_one_that_remembers(tmp_path: Path, batch: int | str) -> None:
    model = recognizer((batch, 3))
    model = attached(model, tmp_path, after=["sigmoid", "hysteresis=0.75?off=0.25&steps=2"])
    ((given, left),) = io.read_meta(model).states
    assert given in [value.name for value in model.graph.input]
    assert [value.name for value in model.graph.output] == ["decisions", left]
    # -x: 9 is as good as no, -9 as yes, 0 lies between the thresholds.
    low, high, between = 9.0, -9.0, 0.0
    stream = [high, low, high, high, between, low, between, low, low, low, high]
    wanted = [0, 0, 0, 1, 1, 1, 1, 1, 0, 0, 0]
    rows = batch if isinstance(batch, int) else 2
    x = np.repeat(np.array(stream, np.float32)[:, None, None], rows, axis=1)
    (decisions,) = open_session(model, optimize=False)({"x": np.repeat(x, 3, axis=2)})
    assert decisions.dtype == np.bool_
    assert decisions.reshape(len(stream), rows * 3).any(axis=1).tolist() == [*map(bool, wanted)]
    assert decisions.reshape(len(stream), rows * 3).all(axis=1).tolist() == [*map(bool, wanted)]


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("hysteresis", "after = hysteresis: does not fit"),
        ("hysteresis=nan", "step hysteresis=nan: the two thresholds do not fit"),
        ("hysteresis=0.5?off=0.6", "step hysteresis=0.5?off=0.6: the two thresholds do not fit"),
        ("hysteresis=0.5?steps=0", "step hysteresis=0.5?steps=0: steps=0 does not fit"),
        ("hysteresis=0.5?of=0.1", "step hysteresis=0.5?of=0.1: no option 'of'"),
    ],
)
def test_what_does_not_fit_is_refused(step: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        AttachStage(after=(step,))
    assert caught.value.message == message
    assert caught.value.hint


def test_it_takes_scores() -> None:
    with pytest.raises(ConfigError, match="stands behind argmax, which gives int64"):
        attach(recognizer((1, 3)), (), ("argmax", "hysteresis=0.5"))
