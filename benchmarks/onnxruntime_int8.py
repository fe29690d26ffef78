"""ONNX Runtime's own int8 form of a model: what its quantization makes of the same samples."""

from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
import onnx.version_converter
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from edgekiln.compiler.onnx_model import io, model_inputs
from edgekiln.compiler.onnx_model.feed import feed_for
from edgekiln.compiler.onnx_model.model_inputs import Inputs

_SAMPLES = 512
_LEAST_OPSET = 13  # the first whose DequantizeLinear has an axis, for weights per channel


def own_int8(model: Path, data: str, out: Path) -> bool:
    """Quantize a float model to `out`, which keeps what the model says about itself; whether its
    weights have a scale for each channel. Of some models ONNX Runtime's tool makes none such.

    Args:
        data: spec of the samples; the part of them that we calibrate on is taken.
    """
    loaded = io.load_model(model)
    feed = feed_for(io.read_meta(loaded), model_inputs.of_model(loaded), data=data, seed=0)

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # has no types
        def __init__(self) -> None:
            self._calls = feed.batches("calib", batch=1, samples=_SAMPLES)

        def get_next(self) -> Inputs | None:
            return next(self._calls, None)

    def quantized(ready: Path, *, per_channel: bool) -> None:
        quantize_static(
            ready, out, Reader(), quant_format=QuantFormat.QDQ, per_channel=per_channel,
            activation_type=QuantType.QInt8, weight_type=QuantType.QInt8,
        )  # fmt: skip

    per_channel = True
    with TemporaryDirectory(prefix="edgekiln-") as folder:
        ready, given = Path(folder, "ready.onnx"), model
        if next(each.version for each in loaded.opset_import if not each.domain) < _LEAST_OPSET:
            given = Path(folder, "given.onnx")
            onnx.save(onnx.version_converter.convert_version(loaded, _LEAST_OPSET), given)
        quant_pre_process(given, ready)
        try:
            quantized(ready, per_channel=True)
        except ValueError:  # of a product with a bias: "The truth value of an array with more …"
            per_channel = False
            quantized(ready, per_channel=False)
    made = onnx.load(out)
    del made.metadata_props[:]
    made.metadata_props.extend(loaded.metadata_props)
    onnx.save(made, out)
    return per_channel
