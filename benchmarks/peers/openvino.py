"""OpenVINO: reads the suite's ONNX files, the QDQ ones in int8."""

from pathlib import Path

from edgekiln.benchmarks.peers.peer import Infer
from edgekiln.runtime.manifest import TensorSpec
from edgekiln.runtime.random_inputs import random_input


def prepare(model: Path, threads: int) -> Infer:
    """Prepare as OpenVINO's "Optimizing for Latency" says.

    It has the latency hint, one stream, threads kept to their cores, tensors allocated before.
    """
    import numpy as np
    import openvino as ov

    core = ov.Core()
    network = core.read_model(model)
    # A fixed batch of 1: with an open one it would compile for any.
    network.reshape(
        {port: [1, *(d.get_length() for d in port.partial_shape[1:])] for port in network.inputs}
    )
    config: dict[str, object] = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": True,
        "ENABLE_HYPER_THREADING": False,
    }
    if "float" in model.name:
        config["INFERENCE_PRECISION_HINT"] = "f32"  # else bfloat16 where the CPU has it
    request = core.compile_model(network, "CPU", config).create_infer_request()
    draw = np.random.default_rng(0)
    for port in network.inputs:
        name, dtype = port.any_name, np.dtype(port.element_type.to_dtype())
        spec = TensorSpec(name=name, shape=tuple(port.shape), dtype=dtype.name)
        request.set_tensor(name, ov.Tensor(random_input(spec, draw)))
    infer: Infer = request.infer
    return infer
