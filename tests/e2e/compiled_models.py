"""Whole QDQ models that several suites compile, and how they are compiled and compared."""

from pathlib import Path

from edgekiln.compiler.evaluation.layerwise import Verification, verify
from edgekiln.compiler.evaluation.parity import batches_for
from edgekiln.compiler.pipeline.stage import StageContext
from edgekiln.compiler.stages.compile import CompileStage
from edgekiln.runtime.runner import AotRunner
from edgekiln.targets import profile
from tests.compiler import artifacts
from tests.compiler.qdq_models import QdqModel


def build(model: Path, target: profile.TargetProfile, **options: object) -> Path:
    out = model.with_suffix(f".{target.name}.lib")
    context = StageContext(target=target, scratch=model.parent)
    CompileStage(**options).run(artifacts.of(model), out, context)  # type: ignore[arg-type]
    return out


def check(model: Path, target: profile.TargetProfile, samples: int = 4) -> Verification:
    """Build and compare on random inputs over the whole range of the input's codes."""
    program = build(model, target)
    batches = batches_for(AotRunner.open(program).spec, model, data="", seed=1, samples=samples)
    result = verify(program, model, batches)
    result.check()
    return result


def residual_net(path: Path) -> Path:
    """Convolution, downsampling residual block, pool, dense: every fused form at once."""
    m = QdqModel(seed=3)
    x = m.q(m.input("x", 1, 3, 16, 16), scale=0.02, zero=-5)
    stem = m.op("Relu", m.conv(x, 8, 3, 3, 3, out="stem", pads=[1, 1, 1, 1]), out="stem_relu")
    a = m.q(stem, scale=0.04, zero=-128)
    b = m.q(m.conv(a, 16, 8, 3, 3, out="b", strides=[2, 2], pads=[0, 0, 1, 1]), scale=0.3, zero=4)
    c = m.q(m.conv(b, 16, 16, 3, 3, out="c", pads=[1, 1, 1, 1]), scale=1.513, zero=9)
    d = m.q(m.conv(a, 16, 8, 1, 1, out="d", strides=[2, 2]), scale=0.1471, zero=-20)
    e = m.q(m.op("Relu", m.op("Add", c, d, out="sum"), out="sum_relu"), scale=0.8737, zero=-128)
    pool = m.q(m.op("GlobalAveragePool", e, out="pool"), scale=0.4, zero=-128)
    flat = m.op("Flatten", pool, out="flat")
    weight, _ = m.weight(10, 16)
    m.op("Gemm", flat, weight, out="logits", transB=1)
    return m.save(path, "logits")
