"""Float programs against ONNX Runtime, layer by layer and as a whole, on every target here."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgekiln.compiler.evaluation.layerwise import verify
from edgekiln.compiler.pipeline.stage import StageContext
from edgekiln.compiler.stages.compile import CompileStage
from edgekiln.runtime import host
from edgekiln.runtime.ort_runner import OrtRunner
from edgekiln.targets import profile
from tests.compiler import artifacts, float_models
from tests.e2e import test_arm_qemu

MOBILE = """
    a = Conv <kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]> (x, w1, b1)
    ha = HardSwish (a)
    d = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1], group = 12> (ha, w2, b2)
    rd = Clip (d, zero, six)
    p = GlobalAveragePool (rd)
    s = Conv (p, w3)
    g = HardSigmoid (s)
    e = Mul (rd, g)
    f = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (e)
    v = AveragePool <kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]> (e)
    k = Concat <axis = 1> (f, v)
    t = Flatten (k)
    l = Gemm <transB = 1> (t, w4, b4)
    y = Softmax (l)
"""


def mobile() -> onnx.ModelProto:
    weights = {
        "w1": (12, 3, 3, 3), "b1": (12,), "w2": (12, 1, 3, 3), "b2": (12,),
        "w3": (12, 12, 1, 1), "w4": (10, 24 * 64), "b4": (10,),
    }  # fmt: skip
    bounds = {"zero": np.array(0, np.float32), "six": np.array(6, np.float32)}
    return float_models.make(MOBILE, weights, constants=bounds)


@pytest.mark.parametrize("name", ["x86-64-v3", "x86-avx512-vnni"])
@pytest.mark.parametrize("make", [float_models.residual, mobile])
def test_every_layer_is_onnx_runtimes_but_for_the_last_bits(
    tmp_path: Path, name: str, make: Callable[[], onnx.ModelProto]
) -> None:
    target = profile.load(name)
    if missing := set(target.features) - host.cpu_flags():
        pytest.skip(f"this CPU lacks {', '.join(sorted(missing))}")
    path, program = tmp_path / "m.onnx", tmp_path / "m.lib"
    onnx.save(make(), path)
    CompileStage().run(artifacts.of(path), program, StageContext(target=target, scratch=tmp_path))
    rng = np.random.default_rng(0)
    batches = [{"x": rng.normal(size=(1, 3, 32, 32)).astype(np.float32)} for _ in range(3)]
    result = verify(program, path, batches)
    result.check()
    assert not any(gap.op == "fallback" for gap in result.layers)
    assert not result.integer_layers
    assert result.outputs[0].max_abs < 1e-5


@pytest.mark.parametrize("name", ["rpi4", "rpi2-armv7"])
def test_arm_programs_agree_with_onnx_runtime_under_qemu(tmp_path: Path, name: str) -> None:
    target = test_arm_qemu.load(name)
    path = tmp_path / "m.onnx"
    onnx.save(mobile(), path)
    x = np.random.default_rng(1).normal(size=(1, 3, 32, 32)).astype(np.float32)
    found = test_arm_qemu.run(test_arm_qemu.lib(path, target), target, x.tobytes())
    (expected,) = OrtRunner(path).run(x)
    flat = np.asarray(expected, np.float32).reshape(-1)
    np.testing.assert_allclose(np.frombuffer(found, np.float32), flat, rtol=1e-4, atol=1e-6)
