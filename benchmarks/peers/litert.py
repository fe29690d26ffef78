"""LiteRT with XNNPACK: `litert-torch` converts, `ai-edge-quantizer` quantizes statically.

Images are taken channels-last, as its kernels want them (litert-torch: `to_channel_last_io`).
"""

from pathlib import Path
from typing import TYPE_CHECKING

from edgekiln.benchmarks.peers.peer import Infer, SourceNetwork
from edgekiln.compiler.build.recipe import Precision

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def convert(source: SourceNetwork, precision: Precision, target: Path) -> None:
    """Convert by `litert_torch.convert`; int8 by the quantizer's recipe `static_wi8_ai8`."""
    import litert_torch
    import numpy as np
    import torch

    from edgekiln.models.artifact import load_module

    module, _ = load_module(source.module)
    module.eval()
    samples = source.samples
    if samples.ndim == 4:
        module = litert_torch.to_channel_last_io(module, args=[0])
        samples = np.ascontiguousarray(samples.transpose(0, 2, 3, 1))
    litert_torch.convert(module, (torch.from_numpy(samples[:1]),)).export(str(target))
    if precision == "int8":
        target.write_bytes(_quantized(target.read_bytes(), samples))


def _quantized(model: bytes, samples: "NDArray[np.float32]") -> bytes:
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_quantizer import quantizer, recipe

    # A converted module has one signature, and the networks one input.
    ((signature, ends),) = Interpreter(model_content=model).get_signature_list().items()
    (name,) = ends["inputs"]
    worker = quantizer.Quantizer(model, recipe.static_wi8_ai8())
    found = worker.calibrate({signature: [{name: sample[None]} for sample in samples]})
    return bytes(worker.quantize(found).quantized_model)


def prepare(model: Path, threads: int) -> Infer:
    """Prepare the interpreter with its default delegate, XNNPACK."""
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(model), num_threads=threads)
    interpreter.allocate_tensors()
    draw = np.random.default_rng(0)
    for detail in interpreter.get_input_details():
        codes = np.issubdtype(detail["dtype"], np.integer)
        value = draw.normal(0, 40 if codes else 1, detail["shape"])
        interpreter.set_tensor(detail["index"], value.clip(-128, 127).astype(detail["dtype"]))
    infer: Infer = interpreter.invoke
    return infer
