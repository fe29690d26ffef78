"""A program of another machine, run here under QEMU: its bits, not its latencies."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekiln.runtime.device.qemu import ANY_CPU, QemuDevice
from edgekiln.runtime.engines import run_runner
from edgekiln.runtime.errors import BundleError, ConfigError
from edgekiln.targets import profile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edgekiln.runtime.manifest import ProgramSpec

TIMEOUT_S = 600.0  # of all samples; one of a large network takes seconds


def predict(
    spec: "ProgramSpec", runner: bytes, inputs: "Sequence[NDArray[np.generic]]", point: int = 0
) -> "list[NDArray[np.generic]]":
    """The outputs by `runner accuracy`, the executable of the program, on its target's CPU.

    Args:
        inputs: an array each, batch first: any multiple of the program's own batch.

    Raises:
        BundleError: QEMU has no such CPU, or a GPU runs the program.
        MissingToolError: QEMU is not installed.
        EdgeKilnError: the one the program ended with.
    """
    with (
        tempfile.TemporaryDirectory(prefix="edgekiln-emulated-") as directory,
        QemuDevice(emulated_cpu(spec)) as qemu,
    ):
        qemu.accept(spec, spec.name)
        home = Path(directory)
        command = [qemu.put(runner), "accuracy"]
        for index, array in enumerate(inputs):
            given = home / f"input_{index}.bin"
            given.write_bytes(array.tobytes())
            command += ["--input", str(given)]
        if point:
            command += ["--point", str(point)]
        results = [home / f"output_{index}.bin" for index in range(len(spec.outputs))]
        for path in results:
            command += ["--output", str(path)]
        run_runner(qemu, command, TIMEOUT_S, spec.name, {})
        return [
            # The runner calls the program batch after batch, and writes the results behind each
            # other.
            np.frombuffer(path.read_bytes(), tensor.dtype).reshape(-1, *tensor.shape[1:])
            for path, tensor in zip(results, spec.every_point[point].outputs, strict=True)
        ]


def emulated_cpu(program: "ProgramSpec") -> str:
    """What the target's profile names, else a CPU with every feature.

    Raises:
        BundleError: a GPU runs the program.
    """
    try:
        target = profile.load(program.target)
    except ConfigError:  # built from a profile of the user's own, which is not here
        return ANY_CPU
    if target.gpu:
        raise BundleError(
            f"{program.name}: made for {target.name}, and QEMU emulates no GPU",
            hint="run it on the device, or build for opencl-generic and run that here, with pocl",
        )
    return target.qemu_cpu or ANY_CPU
