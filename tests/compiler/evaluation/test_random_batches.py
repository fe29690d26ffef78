"""Without data `verify` draws whatever the first quantization has codes for."""

from pathlib import Path

import numpy as np
import pytest

from edgekiln.compiler.evaluation.parity import batches_for
from edgekiln.runtime.runner import AotRunner
from tests.compiler.evaluation.judged import compiled, only_here, verified
from tests.compiler.qdq_models import QdqModel

pytestmark = only_here


@pytest.mark.parametrize(
    ("dtype", "zero"),
    [("int8", -128), ("uint8", 0), ("int16", 0), ("int16", -32768), ("uint16", 60000)],
)
def test_codes_of_every_type_are_drawn_and_compared(tmp_path: Path, dtype: str, zero: int) -> None:
    m = QdqModel(opset=21, dtype=dtype)
    x = m.q(m.input("x", 1, 3, 20, 20), scale=0.01, zero=zero)
    model = m.save(tmp_path / "m.onnx", m.q(m.op("Relu", x, out="r"), scale=0.02, zero=zero))
    spec = AotRunner.open(compiled(model)).spec
    (batch,) = batches_for(spec, model, data="", seed=0, samples=1)
    limits = np.iinfo(dtype)
    ends = [(code - zero) * 0.01 for code in (limits.min, limits.max)]
    np.testing.assert_allclose(
        [batch["x"].min(), batch["x"].max()], ends, rtol=0, atol=(ends[1] - ends[0]) / 50
    )
    result = verified(model)
    result.check()
    assert [layer.op for layer in result.integer_layers] == ["quantize", "requantize"]
    assert [each.program_off for each in result.judged] == [0] * len(result.judged)
