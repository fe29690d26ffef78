"""Other engines, each set up as its own documentation advises for lowest latency on one CPU."""

import sys
import time
from collections.abc import Callable
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from edgekiln.runtime.ort_contender import OrtContender

Infer = Callable[[], None]


def openvino(model: Path, threads: int) -> Infer:
    """Latency hint, one stream, pinned threads, pre-allocated tensors (OpenVINO: "Optimize for
    latency"). Reads QDQ ONNX and runs it in int8.
    """
    import numpy as np
    import openvino as ov

    core = ov.Core()
    network = core.read_model(model)
    network.reshape(
        {network.input(0): [1, *(d.get_length() for d in network.input(0).partial_shape[1:])]}
    )
    config: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
    }
    request = core.compile_model(network, "CPU", config).create_infer_request()
    shape = tuple(network.input(0).shape)
    value = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    request.set_input_tensor(ov.Tensor(value))
    infer: Infer = request.infer
    return infer


# engine → (set-up, distribution); they read QDQ ONNX
ENGINES: dict[str, tuple[Callable[[Path, int], Infer], str]] = {"openvino": (openvino, "openvino")}


def available() -> list[str]:
    """The engines that are installed."""
    return [name for name in ENGINES if find_spec(name)]


class PeerContender(OrtContender):
    """A peer in a process of its own, timed by the same loop as ONNX Runtime."""

    engine: str

    def __init__(self, engine: str, model: Path, placement: Any) -> None:
        super().__init__(model, placement)
        self.engine = engine

    def _command(self) -> list[str]:
        places = map(str, (self.placement.threads, *self.placement.cpus))
        module = "edgekiln.benchmarks.peers"
        return [sys.executable, "-m", module, self.engine, str(self.path), *places]


def main(argv: list[str]) -> int:
    """The worker: prepares one engine and serves trials, as `runtime.ort_worker` does."""
    import os

    from edgekiln.runtime.ort_worker import serve

    engine, model, threads, *cpus = argv
    if cpus:
        os.sched_setaffinity(0, map(int, cpus))
    prepare, distribution = ENGINES[engine]
    infer = prepare(Path(model), int(threads))
    start = time.perf_counter()
    infer()
    first_s = time.perf_counter() - start
    version = metadata.version(distribution)
    serve(infer, {"first_inference_s": first_s, "batch": 1, "version": version})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
