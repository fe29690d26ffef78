"""`verify` compares whole calls of the samples that it is given, at least one."""

from pathlib import Path

import numpy as np
import pytest

from edgekiln.compiler.evaluation.parity import batches_for
from edgekiln.runtime.errors import InputError
from edgekiln.runtime.runner import AotRunner
from tests.compiler.evaluation.judged import compiled, only_here
from tests.compiler.qdq_models import QdqModel

BATCH = 4
pytestmark = only_here


def calls(home: Path, held: int, samples: int) -> list[int]:
    """How many samples each call has, of a data set of so many, of which a fifth is held out."""
    m = QdqModel()
    x = m.q(m.input("x", BATCH, 6))
    model = m.save(home / "m.onnx", m.q(m.op("Relu", x, out="r")))
    np.save(home / "data.npy", np.zeros((held, 6), np.float32))
    spec = AotRunner.open(compiled(model)).spec
    data = str(home / "data.npy")
    found = batches_for(spec, model, data=data, seed=0, samples=samples, demanded=True)
    return [len(given["x"]) for given in found]


def test_fewer_samples_than_a_call_takes_are_a_call(tmp_path: Path) -> None:
    assert calls(tmp_path, held=100, samples=3) == [BATCH]
    assert calls(tmp_path, held=100, samples=9) == [BATCH, BATCH]


def test_too_few_samples_for_a_call_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        calls(tmp_path, held=10, samples=64)
    assert caught.value.message == (
        f"{tmp_path / 'data.npy'}: the program takes 4 samples at once, more than are held out"
    )
    assert caught.value.hint == "name more data, by --data, or compile for a smaller --batch"
