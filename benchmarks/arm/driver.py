"""Runs inside the emulated Python, which has the engine and numpy but nothing of ours: prepares a
model, infers, and marks one inference as compiler/estimate/c/mark.h says.

    python driver.py ENGINE MODEL MAPS    MAPS: where to say which library lies where in memory
"""

import ctypes
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

MARK, MARK_END = 0x6B110000, 0xFFFF
WARM = 2  # inferences that allocate, pack weights and choose kernels


def onnxruntime(model: str) -> Callable[[], object]:
    """Prepare a session: all optimisations, one thread, bound inputs and outputs, as on x86."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    for value in session.get_inputs():
        shape = [size if isinstance(size, int) else 1 for size in value.shape]
        binding.bind_cpu_input(value.name, noise(shape))
    for value in session.get_outputs():
        binding.bind_output(value.name, "cpu")
    return lambda: session.run_with_iobinding(binding)


def litert(model: str) -> Callable[[], object]:
    """Prepare the interpreter with its default delegate, XNNPACK, on one thread."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=model, num_threads=1)
    interpreter.allocate_tensors()
    for detail in interpreter.get_input_details():
        interpreter.set_tensor(detail["index"], noise(detail["shape"]).astype(detail["dtype"]))
    invoke: Callable[[], object] = interpreter.invoke
    return invoke


def noise(shape: "list[int]") -> "np.ndarray[tuple[int, ...], np.dtype[np.float32]]":
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def main(engine: str, model: str, maps: str) -> None:
    infer = {"onnxruntime": onnxruntime, "litert": litert}[engine](model)
    # A system call with a number that no open file has: whoever counts sees it, and nothing
    # happens.
    close = ctypes.CDLL(None).close
    for _ in range(WARM):
        infer()
    # Section 0 begins; it is the one inference that counts.
    close(MARK)
    infer()
    close(MARK + MARK_END)
    # Afterwards, when all libraries are loaded: the addresses of what ran are told apart by it.
    Path(maps).write_text(Path("/proc/self/maps").read_text())


if __name__ == "__main__":
    main(*sys.argv[1:])
