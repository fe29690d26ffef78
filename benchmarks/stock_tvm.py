"""Our int8 program against stock `tvm.compile` on the same QDQ model, in one process.

    python -m edgekiln.benchmarks.stock_tvm MODEL.onnx BUNDLE.ekb

Both run one sample on one thread, in alternating blocks; the medians of the blocks' medians are
compared. Ours is called through ctypes, copies included, which flatters TVM a little.
"""

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLOCKS, CALLS = 7, 50


def stock(model: Path, target: dict[str, object]) -> Callable[["NDArray[np.float32]"], object]:
    """Prepare TVM's own importer, default CPU pipeline and virtual machine."""
    import onnx
    import tvm
    from tvm import relax
    from tvm.relax.backend.cpu_generic import get_default_pipeline
    from tvm.relax.frontend.onnx import from_onnx

    # One core, as ours has one thread.
    chip = tvm.target.Target({**target, "num-cores": 1})
    module = from_onnx(onnx.load(model), keep_params_in_input=False)
    program = tvm.compile(module, target=chip, relax_pipeline=get_default_pipeline(chip))
    machine = relax.VirtualMachine(program, tvm.cpu())
    return lambda x: machine["main"](tvm.runtime.tensor(x))


def ours(bundle: Path) -> Callable[["NDArray[np.float32]"], object]:
    from edgekiln.runtime.runner import AotRunner

    return AotRunner.open(bundle).run


def compare(model: Path, bundle: Path) -> dict[str, float]:
    """The median seconds a call of each, and their ratio."""
    from edgekiln.runtime.runner import AotRunner
    from edgekiln.targets import profile

    spec = AotRunner.open(bundle).spec
    x = np.random.default_rng(0).random(spec.inputs[0].shape, np.float32)
    engines = {"stock_tvm": stock(model, dict(profile.load("host").tvm)), "edgekiln": ours(bundle)}
    medians: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(BLOCKS):
        for name, run in engines.items():
            samples = []
            for _ in range(CALLS):
                start = time.perf_counter()
                run(x)
                samples.append(time.perf_counter() - start)
            medians[name].append(statistics.median(samples))
    result = {f"{name}_latency_s": statistics.median(times) for name, times in medians.items()}
    result["speedup"] = result["stock_tvm_latency_s"] / result["edgekiln_latency_s"]
    return result


if __name__ == "__main__":
    for key, value in compare(Path(sys.argv[1]), Path(sys.argv[2])).items():
        print(f"{key}: {value:.3g}")
