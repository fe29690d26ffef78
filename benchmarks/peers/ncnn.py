"""ncnn: `pnnx` converts a TorchScript trace."""

import shutil
import subprocess
import tempfile
from pathlib import Path

from edgekiln.benchmarks.peers.peer import Infer, SourceNetwork
from edgekiln.compiler.build.recipe import Precision


def convert(source: SourceNetwork, precision: Precision, target: Path) -> None:  # noqa: ARG001
    """Convert, in float; beside `target` lie the weights, NAME.bin, and an input, NAME.npy.

    Raises:
        RuntimeError: pnnx failed; the end of what it said.
    """
    import numpy as np
    import pnnx
    import torch

    from edgekiln.models.artifact import load_module

    module, _ = load_module(source.module)
    example = torch.from_numpy(source.samples[:1])
    with tempfile.TemporaryDirectory() as work:
        trace = Path(work) / "model.pt"
        torch.jit.trace(module.eval(), example).save(str(trace))  # type: ignore[no-untyped-call]
        shape = ",".join(map(str, example.shape))
        # fp16=0: its weights stay float32, as those of all others.
        command = [pnnx.EXEC_PATH, str(trace), f"inputshape=[{shape}]", "fp16=0"]
        done = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"pnnx ended with {done.returncode}: {done.stderr[-200:]}")
        shutil.copy(Path(work) / "model.ncnn.param", target)
        shutil.copy(Path(work) / "model.ncnn.bin", target.with_suffix(".bin"))
        np.save(target.with_suffix(".npy"), source.samples[0])


def prepare(model: Path, threads: int) -> Infer:
    """Prepare with the options' defaults.

    They are packed layouts, Winograd and sgemm convolutions, light mode, and threads that spin
    between the layers.
    """
    import ncnn
    import numpy as np

    net = ncnn.Net()
    net.opt.num_threads = threads
    if net.load_param(str(model)) or net.load_model(str(model.with_suffix(".bin"))):
        raise RuntimeError(f"ncnn does not load {model.name}")
    (first, *_), (last, *_) = net.input_names(), net.output_names()
    image = ncnn.Mat(np.load(model.with_suffix(".npy")))

    def infer() -> None:
        with net.create_extractor() as extractor:
            extractor.input(first, image)
            extractor.extract(last)

    return infer
