"""Schemes of small nets, and what judges them, on handwritten digits."""

from dataclasses import dataclass

import onnx

from edgekiln.compiler.onnx_model import io, model_inputs
from edgekiln.compiler.onnx_model.feed import Feed, feed_for
from edgekiln.compiler.onnx_model.model_inputs import Inputs
from edgekiln.compiler.pipeline.stage import silent
from edgekiln.compiler.quantization import qdq
from edgekiln.compiler.quantization.calibration import Calibration
from edgekiln.compiler.quantization.corrections import Workbench
from edgekiln.compiler.quantization.judge import Judge
from edgekiln.compiler.quantization.prepare import prepare
from edgekiln.compiler.quantization.scheme import Scheme, observed_tensors


@dataclass(frozen=True, kw_only=True)
class Bench:
    """A prepared float model and all that quantizes and judges it."""

    model: onnx.ModelProto
    feed: Feed
    work: Workbench
    scheme: Scheme
    judge: Judge

    def calls(self, samples: int = 32) -> list[Inputs]:
        return self.work.calibration.calls(samples)

    def sqnr_db(self, scheme: Scheme) -> float:
        return self.judge.verdict(scheme.quantized()).sqnr_db


def bench(model: onnx.ModelProto, *, data: str = "digits", samples: int = 64) -> Bench:
    ready = prepare(model)
    feed = feed_for(io.read_meta(ready), model_inputs.of_model(ready), data=data, seed=0)
    calibration = Calibration(feed=feed, samples=samples, batch=32, advance=silent)
    tensors = observed_tensors(ready, qdq.quantized_nodes(ready, ()))
    return Bench(
        model=ready,
        feed=feed,
        work=Workbench(calibration=calibration, seed=0),
        scheme=Scheme(model=ready, ranges=calibration.ranges(ready, tensors)),
        judge=Judge(ready, feed, samples=64, scored=True),
    )
