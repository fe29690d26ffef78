"""The quantize stage on a model of a test's own."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgekiln.compiler.onnx_model import io
from edgekiln.compiler.pipeline.stage import StageContext
from edgekiln.compiler.stages.quantize import QuantizeStage
from edgekiln.runtime.errors import EdgeKilnError
from tests.compiler import artifacts
from tests.compiler.float_models import make


def quantize(src: Path, **options: Any) -> tuple[onnx.ModelProto, dict[str, float], list[str]]:
    dst = src.with_name("int8.onnx")
    context = StageContext(scratch=src.parent)
    given: dict[str, Any] = {"data": "digits", "samples": 64} | options
    metrics = QuantizeStage(**given).run(artifacts.of(src), dst, context)
    return io.load_model(dst), dict(metrics), context.notes


def refused(src: Path, kind: type[EdgeKilnError], **options: Any) -> EdgeKilnError:
    with pytest.raises(kind) as caught:
        quantize(src, **options)
    assert not src.with_name("int8.onnx").exists()
    return caught.value


def unbalanced() -> onnx.ModelProto:
    """A network whose channels differ by a factor of up to 2^16 between two layers."""
    body = """
        a = Conv <kernel_shape = [3, 3]> (x, w1)
        r = Relu (a)
        c = Conv <kernel_shape = [3, 3]> (r, w2)
        p = GlobalAveragePool (c)
        f = Flatten (p)
        y = Gemm <transB = 1> (f, w3)
    """
    model = make(body, {"w1": (16, 3, 3, 3), "w2": (8, 16, 3, 3), "w3": (10, 8)}, x="N, 3, 32, 32")
    factor = np.exp2(np.linspace(-8, 8, 16)).astype(np.float32)
    for weight in model.graph.initializer:
        array = onnx.numpy_helper.to_array(weight)
        if weight.name == "w1":
            array = array * factor[:, None, None, None]
        if weight.name == "w2":
            array = array / factor[None, :, None, None]
        weight.CopyFrom(onnx.numpy_helper.from_array(array, weight.name))
    return model
