"""A bundle's example, on a device: does it compute there what it computed where it was packaged?"""

from pathlib import Path

from edgekiln.runtime.bundle import ProgramFile, example_name, executable_name
from edgekiln.runtime.device.admission import admit
from edgekiln.runtime.device.device import Device
from edgekiln.runtime.engines import START_SECONDS, run_runner
from edgekiln.runtime.errors import BundleError


def check_example(bundle: Path, device: Device) -> tuple[str, ...]:
    """Run the example on a device that is held; the names of the outputs, all as expected.

    Raises:
        BundleError: damaged, without an example, or made for another machine.
        MismatchError: an output differs.
        MeasurementError: the program failed or hung.
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
        run_runner(device, command, START_SECONDS, str(bundle), names)
    return tuple(tensor.name for tensor in spec.outputs)
