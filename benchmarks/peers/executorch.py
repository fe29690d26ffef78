"""ExecuTorch with the XNNPACK backend: PT2E quantization, and delegated whatever it takes."""

from pathlib import Path
from typing import TYPE_CHECKING

from edgekiln.benchmarks.peers.peer import Infer, SourceNetwork
from edgekiln.compiler.build.recipe import Precision

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch.nn import Module


def convert(source: SourceNetwork, precision: Precision, target: Path) -> None:
    """Convert as ExecuTorch's XNNPACK guide says; int8 is symmetric, weights per channel."""
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    from edgekiln.models.artifact import load_module

    module, _ = load_module(source.module)
    example = (torch.from_numpy(source.samples[:1]),)
    graph: Module = torch.export.export(module.eval(), example).module()
    if precision == "int8":
        graph = _quantized(graph, source.samples)
    exported = torch.export.export(graph, example)
    lowered = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()])
    target.write_bytes(lowered.to_executorch().buffer)


def _quantized(graph: "Module", samples: "NDArray[np.float32]") -> "Module":
    import torch
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    quantizer = XNNPACKQuantizer()
    quantizer.set_global(get_symmetric_quantization_config(is_per_channel=True))
    prepared = prepare_pt2e(graph, quantizer)
    for sample in samples:
        # Observers inside take the ranges.
        prepared(torch.from_numpy(sample[None]))
    quantized: Module = convert_pt2e(prepared)
    return quantized


def prepare(model: Path, threads: int) -> Infer:
    """Prepare the runtime's Python bindings: inputs are set once, outputs are not copied."""
    import torch
    from executorch.extension.pybindings import portable_lib as runtime

    runtime._unsafe_reset_threadpool(threads)
    program = runtime._load_program(str(model))
    method = program.load_method("forward")
    shape = tuple(method.method_meta().input_tensor_meta(0).sizes())
    value = torch.randn(shape, generator=torch.Generator().manual_seed(0))

    def infer(_program: object = program) -> None:  # which the method does not keep alive
        method.set_inputs([value])
        method.execute()

    return infer
