"""Whole QDQ models that several suites compile, and how they are compiled and compared."""

from pathlib import Path

from hypothesis import strategies as st

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


@st.composite
def random_nets(draw: st.DrawFn) -> tuple[QdqModel, str]:
    """A few convolutions, pools and additions on an image of odd sizes."""
    m = QdqModel(seed=draw(st.integers(0, 2**16)), dtype=draw(st.sampled_from(["int8", "uint8"])))
    low = {"int8": -128, "uint8": 0}[m.dtype]
    zero = st.integers(low, low + 255)
    c, h, w = draw(st.integers(1, 20)), draw(st.integers(3, 13)), draw(st.integers(3, 13))
    x = m.q(m.input("x", draw(st.integers(1, 2)), c, h, w), scale=0.02, zero=draw(zero))
    for i in range(draw(st.integers(1, 3))):
        depthwise = draw(st.booleans())
        oc = c if depthwise else draw(st.sampled_from([1, 3, 8, 10, 16, 17, 24, 33]))
        k = draw(st.sampled_from([1, 3, 5]))
        pads = [draw(st.integers(0, k // 2)) for _ in range(4)]
        if min(h + pads[0] + pads[2], w + pads[1] + pads[3]) < k:
            pads = [k // 2] * 4
        s = draw(st.integers(1, 2))
        conv = m.conv(
            x, oc, 1 if depthwise else c, k, k, out=f"conv{i}", pads=pads, strides=[s, s],
            group=c if depthwise else 1,
        )  # fmt: skip
        h, w = (h + pads[0] + pads[2] - k) // s + 1, (w + pads[1] + pads[3] - k) // s + 1
        if draw(st.booleans()):
            conv = m.op("Relu", conv, out=f"relu{i}")
        c = oc
        y = m.q(conv, scale=draw(st.sampled_from([0.02, 0.1, 0.7])), zero=draw(zero))
        if draw(st.booleans()):
            z = m.q(m.conv(y, c, c, 3, 3, out=f"in{i}", pads=[1, 1, 1, 1]), 0.5, draw(zero))
            y = m.q(m.op("Add", z, y, out=f"add{i}"), 0.4, draw(zero))
        x = y
    return m, x
