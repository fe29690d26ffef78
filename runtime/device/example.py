"""A bundle's example, on a device: does it compute there what it computed where it was packaged?"""

from pathlib import Path

from edgekiln.runtime import codec
from edgekiln.runtime.bundle import ProgramFile, example_name, executable_name
from edgekiln.runtime.device.admission import admit
from edgekiln.runtime.device.device import Device
from edgekiln.runtime.engines import START_SECONDS, run_runner
from edgekiln.runtime.errors import BundleError, MeasurementError
from edgekiln.runtime.runner_documents import RunnerCheck


def check_example(bundle: Path, device: Device) -> tuple[str, ...]:
    """Run the example on a device that is held; the names of the outputs, all as expected.

    Raises:
        BundleError: damaged, without an example, or made for another machine.
        MismatchError: an output differs.
        MeasurementError: the program failed or hung, or does not say that its outputs are equal.
    """
    opened = ProgramFile.open(bundle)
    admit(device, opened)
    spec, files = opened.spec, opened.files
    program = executable_name(files, str(bundle))
    runner = device.put(files[program])
    for point in range(len(spec.every_point)):
        command, names = [runner, "check"], {runner: program}
        if point:
            command += ["--point", str(point)]
        wanted = [
            *(("--input", example_name("input", i)) for i in range(len(spec.inputs))),
            *(("--expect", example_name("output", i, point)) for i in range(len(spec.outputs))),
        ]
        for option, name in wanted:
            if name not in files:
                raise BundleError(
                    f"{bundle}: has no {name}", hint="package it on a machine that can run it"
                )
            place = device.put(files[name])
            names[place] = name
            command += [option, place]
        done = run_runner(device, command, START_SECONDS, str(bundle), names)
        _require_equal(done.stdout, len(spec.outputs), f"{device.name}: the runner of {bundle}")
    return tuple(tensor.name for tensor in spec.outputs)


def _require_equal(said: str, outputs: int, who: str) -> None:
    """Raise MeasurementError for another answer: where a shell runs something else, or nothing, an
    exit code says nothing of the program.
    """
    try:
        equal = codec.decode(RunnerCheck, codec.loads(said)).outputs_equal
    except ValueError as error:
        words = " ".join(said.split())[:80] or "nothing"
        raise MeasurementError(
            f"{who} does not say what became of its outputs, but {words}",
            "does the shell there run commands as they are, and print nothing itself?",
        ) from error
    if equal != outputs:
        raise MeasurementError(f"{who} compared {equal} of {outputs} outputs", "build it again")
