"""The process of one engine: `python -m edgekiln.benchmarks.peers.worker`, then ENGINE, MODEL,
THREADS and the CPUs to be pinned to.

Serves trials as `edgekiln.runtime.ort_worker` does; needs the engine, numpy and
`edgekiln.runtime`, and nothing that converts models.
"""

import importlib
import os
import sys
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from edgekiln.benchmarks.peers import BY_NAME
from edgekiln.runtime.ort_worker import serve

if TYPE_CHECKING:
    from edgekiln.benchmarks.peers.peer import Prepare


def main(argv: Sequence[str]) -> int:
    engine, model, threads, *cpus = argv
    if cpus:
        os.sched_setaffinity(0, map(int, cpus))
    peer = BY_NAME[engine]
    prepare: Prepare = importlib.import_module(peer.module).prepare
    # Engines print to stdout, which is where the trials are answered.
    answers = os.dup(1)
    os.dup2(2, 1)
    # Apart from the trials: what an engine does once is no latency.
    infer = prepare(Path(model), int(threads))
    start = time.perf_counter()
    infer()
    first_s = time.perf_counter() - start
    os.dup2(answers, 1)
    version = metadata.version(peer.distribution)
    serve(infer, {"first_inference_s": first_s, "batch": 1, "version": version})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
