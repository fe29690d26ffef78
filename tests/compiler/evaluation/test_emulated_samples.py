"""Another machine's program under QEMU computes the samples that it is given, and no others: there
each one of a large network takes a minute.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from edgekiln.compiler.devices import emulated
from edgekiln.compiler.evaluation.subject import Predict, program_subject
from edgekiln.runtime.bundle import read_program
from edgekiln.runtime.manifest import ProgramSpec
from edgekiln.targets import profile
from tests.e2e.compiled_models import build, residual_net
from tests.emulated import require


def of_any_batch(path: Path) -> Path:
    """The model with an open first axis."""
    model = onnx.load(path)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    onnx.save(model, path)
    return path


@pytest.mark.parametrize(("batch", "given", "computed"), [(1, 1, 1), (1, 3, 3), (4, 6, 8)])
def test_nothing_but_whole_batches_is_filled_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int, given: int, computed: int
) -> None:
    require(profile.load("rpi5"))
    model = of_any_batch(residual_net(tmp_path / "net.onnx"))
    counts: list[int] = []
    run = emulated.predict

    def counted(
        spec: ProgramSpec, runner: bytes, inputs: Sequence[NDArray[np.generic]], point: int = 0
    ) -> list[NDArray[np.generic]]:
        counts.append(len(inputs[0]))
        return run(spec, runner, inputs, point)

    monkeypatch.setattr(emulated, "predict", counted)
    x = np.random.default_rng(0).normal(size=(given, 3, 16, 16)).astype(np.float32)

    def predict(target: str, batch: int) -> Predict:
        lib = build(model, profile.load(target), batch=batch)
        return program_subject(*read_program(lib)).predict

    (found,) = predict("rpi5", batch)({"x": x})
    assert counts == [computed]
    alone = predict("x86-64-v2", 1)
    wanted = np.concatenate([alone({"x": row[None]})[0] for row in x])
    np.testing.assert_array_equal(found, wanted)
