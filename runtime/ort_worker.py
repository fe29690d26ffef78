"""ONNX Runtime in a process of its own, timed on request: `python -m edgekiln.runtime.ort_worker`.

Arguments: model, threads, batch, then the CPUs to be pinned to. Prints one JSON line when ready,
then one for each line {"min_seconds": …, "warmup_seconds": …} on stdin. Errors go to stderr as the
runner's do.
"""

import gc
import json
import os
import sys
import time
from array import array
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from edgekiln.runtime import codec, host
from edgekiln.runtime.errors import EdgeKilnError
from edgekiln.runtime.faults import print_error
from edgekiln.runtime.ort_runner import OrtRunner, import_onnxruntime
from edgekiln.runtime.program import batch_of
from edgekiln.runtime.random_inputs import random_input
from edgekiln.runtime.results import Trial, trial_of


def main(argv: Sequence[str]) -> int:
    """Answer requests on standard input, a line each, until it ends; returns the exit code."""
    model, threads, batch, *cpus = argv
    try:
        if cpus:
            os.sched_setaffinity(0, map(int, cpus))
        infer, ready = prepare(Path(model), int(threads), int(batch))
    except EdgeKilnError as error:
        print_error(error)
        return error.exit_code
    serve(infer, ready)
    return 0


def serve(infer: Callable[[], None], ready: dict[str, object]) -> None:
    """Say what the first inference told, then time trials on request until stdin ends."""
    _answer(ready)
    for line in sys.stdin:
        request = json.loads(line)
        _run_for(infer, request["warmup_seconds"])
        trial = timed(infer, request["min_seconds"])
        _answer({"trial": codec.encode(trial), "peak_resident_bytes": host.peak_resident_bytes()})


def prepare(model: Path, threads: int, batch: int) -> tuple[Callable[[], None], dict[str, object]]:
    """One inference, set up as ONNX Runtime's documentation advises, and what the first one told.

    All optimisations, sequential execution, threads that spin; inputs and outputs stay where they
    are (IOBinding), so no call allocates or copies.
    """
    ort = import_onnxruntime()
    runner = OrtRunner(model, threads=threads, batch=batch)
    binding = runner.session.io_binding()
    draw = np.random.default_rng(0)
    arrays = [random_input(spec, draw) for spec in runner.inputs]
    for spec, given in zip(runner.inputs, arrays, strict=True):
        value = ort.OrtValue.ortvalue_from_numpy(given, "cpu")
        binding.bind_ortvalue_input(spec.name, value)
    for spec in runner.outputs:
        binding.bind_output(spec.name, "cpu")
    run = runner.session.run_with_iobinding
    start = time.perf_counter()
    run(binding)
    first_s = time.perf_counter() - start
    # Now the shapes of the outputs are known: write to the same memory from here on.
    for spec, value in zip(runner.outputs, binding.get_outputs(), strict=True):
        binding.bind_ortvalue_output(spec.name, value)
    ready = {
        "first_inference_s": first_s,
        "batch": batch_of(runner) or 1,
        "version": ort.__version__,
    }
    # The binding points into the arrays and does not hold them: freed, they are whatever lies there
    # next, and on numbers near 0 an inference takes ten times as long.
    infer = partial(_call, _without_wrapper(runner.session, binding), arrays)
    return infer, ready


def _call(infer: Callable[[], None], arrays: object) -> None:  # noqa: ARG001
    infer()


# ONNX Runtime ships no types.
def _without_wrapper(session: Any, binding: Any) -> Callable[[], None]:
    """`session.run_with_iobinding(binding)` without its Python part, where this release has one.

    It takes about 2 µs a call, which an application in C would not pay.
    """
    try:
        return partial(session._sess.run_with_iobinding, binding._iobinding, None)
    except AttributeError:
        return partial(session.run_with_iobinding, binding)


def timed(infer: Callable[[], None], min_seconds: float) -> Trial:
    """Every call timed, for at least `min_seconds`."""
    clock = time.perf_counter
    latencies = array("d")
    collecting = gc.isenabled()
    gc.disable()
    try:
        started_s, start = time.time(), clock()
        while True:
            before = clock()
            infer()
            after = clock()
            latencies.append(after - before)
            if after - start >= min_seconds:
                return trial_of(latencies, after - start, started_s)
    finally:
        if collecting:
            gc.enable()


def _run_for(infer: Callable[[], None], seconds: float) -> None:
    end = time.perf_counter() + seconds
    infer()
    while time.perf_counter() < end:
        infer()


def _answer(data: object) -> None:
    print(json.dumps(data), flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
