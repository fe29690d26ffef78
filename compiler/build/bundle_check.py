"""Check that a bundle computes what it should, here, on its device or under QEMU."""

import json
import subprocess
from dataclasses import replace
from functools import cache
from pathlib import Path

from edgekiln.compiler.devices.named import identity, open_device
from edgekiln.compiler.environment import doctor
from edgekiln.compiler.pipeline.artifact import Artifact
from edgekiln.compiler.pipeline.store import Store
from edgekiln.compiler.stages.check import QEMU, BundleCheck, CheckBundle, lasting
from edgekiln.runtime import codec, host
from edgekiln.runtime.bundle import ProgramFile
from edgekiln.runtime.device.admission import require_signature
from edgekiln.runtime.device.device import LOCAL
from edgekiln.runtime.device.qemu import EMULATORS
from edgekiln.runtime.errors import BundleError, MissingToolError
from edgekiln.targets.profile import TargetProfile


def check_bundle(
    bundle: Artifact, target: TargetProfile, store: Store, *, device: str, data: str, seed: int
) -> BundleCheck:
    """Check a bundle, or find what was found of the same bytes before.

    Args:
        device: where it runs, a name or an address; "": here, or else on an emulator.
        data: whose samples are compared with ONNX Runtime, layer by layer.

    Raises:
        MismatchError: the program does not compute what it should.
        BundleError: the device demands a signature.
        DeviceError: the device is busy, or cannot be reached.
    """
    reason = "" if device else doctor.foreign(target)
    where = device or (QEMU if reason else LOCAL)
    if device:  # also where the result is remembered and nothing will run
        require_signature(open_device(device), ProgramFile.open(bundle.path))
    stage = CheckBundle(
        device=where,
        # In the key: on another CPU, or by another emulator, it is checked anew.
        executor=_executor(where, bundle.path, EMULATORS.get(target.machine, "")),
        data=data,
        seed=seed,
    )
    try:
        made = store.run(stage, bundle)
    except (BundleError, MissingToolError) as error:
        if not reason:
            # Here the program has to run. An emulator may be missing.
            raise
        why = lasting(error.message, bundle.path.parent)
        return BundleCheck(where="nowhere", reason=f"{reason}; not emulated: {why}")
    found = codec.decode(BundleCheck, json.loads(made.path.read_text(encoding="utf-8")))
    return replace(found, reason=reason)


def _executor(device: str, bundle: Path, emulator: str) -> str:
    if device == QEMU:
        return _version(emulator)
    if device == LOCAL:
        return f"{host.machine().cpu}: {' '.join(sorted(host.cpu_flags()))}"
    return identity(device, bundle)


@cache
def _version(emulator: str) -> str:
    """The emulator's version in its own words; "" if it is missing."""
    try:
        done = subprocess.run([emulator, "--version"], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return (done.stdout.splitlines() or [""])[0]
