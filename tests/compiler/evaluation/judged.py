"""Programs of small quantized models, and what `verify` says of them."""

from pathlib import Path
from typing import Any

import pytest

from edgekiln.compiler.evaluation.layerwise import Verification, verify
from edgekiln.compiler.evaluation.parity import batches_for
from edgekiln.compiler.pipeline.stage import StageContext
from edgekiln.compiler.stages.compile import CompileStage
from edgekiln.runtime import host
from edgekiln.runtime.runner import AotRunner
from edgekiln.targets import profile
from tests.compiler import artifacts
from tests.compiler.qdq_models import QdqModel

TARGET = "x86-64-v3"
only_here = pytest.mark.skipif(
    not set(profile.load(TARGET).features) <= host.cpu_flags(), reason=f"no {TARGET} here"
)


def compiled(model: Path) -> Path:
    out = model.with_suffix(".lib")
    CompileStage().run(
        artifacts.of(model), out, StageContext(target=profile.load(TARGET), scratch=model.parent)
    )
    return out


def verified(model: Path, program: Path | None = None) -> Verification:
    program = program or compiled(model)
    batches = batches_for(AotRunner.open(program).spec, model, data="", seed=1, samples=8)
    return verify(program, model, batches)


def pooled(path: Path, kind: str = "AveragePool", scale: float = 0.0273, **attributes: Any) -> Path:
    """A pool between two quantizations of one scale: averages of codes, a quarter of them ties."""
    m = QdqModel()
    x = m.q(m.input("x", 1, 8, 16, 16), scale=scale, zero=3)
    y = m.q(m.op(kind, x, out="pool", **attributes), scale=scale, zero=3)
    m.save(path, y)
    return path
